//! `dvrlab` runs a distributed virtual router (DVR) with source NAT - the router that OpenStack Neutron's L3 agent builds -
//! inside throwaway network namespaces, changes it by scenario files, sends real packets through it, and records what stands
//! in every namespace and who reached whom, **as which source address, through which host**.
//!
//! # Bird's-eye view
//!
//! Everything is a value until [`kernel`], and every value has exactly one printed form. Data flows one way; each arrow is one
//! function from value to value; only the stages in brackets touch the world:
//!
//! ```text
//! scenario text --scenario--> Scenario --steps--> api::Event --api--> Intent --router--> HostConfig (a RouterConfig per router)
//!   --namespace--> HostState (desired) --plan(observed, desired)--> Plan (ordered Ops) --[kernel: apply]-->
//!   --[kernel: observe]--> HostState (observed) == desired? --[probe]--> ProbeReports --record, report--> text, JSON, snapshots
//! ```
//!
//! # Code map
//!
//! | module | what it is |
//! |---|---|
//! | [`name`], [`net`] | checked names; MACs, families, and every number taken from the reference, with its source |
//! | [`flow`] | a packet that is to go somewhere, and what became of it |
//! | [`ledger`] | what flows that run through a change tell of it |
//! | [`memory`] | what a namespace remembers of packets: connections, neighbours |
//! | [`packet`] | packets to the last field: their bytes, their fragments |
//! | [`topology`] | what the lab consists of besides routers |
//! | [`api`] | what tenants and operators ask for: objects, events, the intent in force |
//! | [`watch`] | what each frame is that a host sends onto a provider segment, from the intents it may be acting upon |
//! | [`router`] | the server's view of each host: which routers it has, and the dict its agent is sent |
//! | [`namespace`] | what must stand in each namespace: the agent itself, as a function |
//! | [`plan`] | from observed to desired in operations, ordered so that stopping anywhere leaks nothing |
//! | [`why`] | the way of one packet, with what decided at each stop, in words |
//! | [`capture`] | captured frames, and the files that Wireshark opens |
//! | [`dataplane`] | the one seam to the world |
//! | [`probe`] | builds, sends, answers and follows packets |
//! | [`kernel`], [`lab`] | Linux: namespaces, netlink, sysctls, packet sockets; and the lab made of them |
//! | [`scenario`] | the scenario language: reading, checking, judging |
//! | [`run`] | drives a scenario over a data plane, step by step |
//! | [`replay`] | drives an agent by recorded router dicts, and prints what stands then as the recordings have it |
//! | [`diff`] | what behaves differently in two runs, and which rules went with it |
//! | [`record`], [`report`], [`snapshot`] | what a run leaves behind, its printed forms, the files in `snapshots/` |
//! | [`harness`] | a sandbox of its own for each scenario |
//! | [`cli`] | the only place that prints |
//!
//! # Architecture invariants
//!
//! - The stages outside [`kernel`], [`probe`] and [`lab`] do no I/O, read no clock, use no randomness and start no thread
//!   (`tests/tidy.rs` searches for it; [`snapshot`], [`harness`] and [`cli`] are the shell around them).
//! - Modules depend one way, along the table in `tests/tidy.rs`.
//! - No choice is left to apply: every name, priority, mark, link-local pair, table id and MAC is in the plan. An allocation is
//!   a pure function of what is wanted and of what the observed kernel state already holds; new ones are the lowest free. There
//!   are no state files.
//! - The plan diffs against what was *observed* in the kernel, never against what is remembered. A restart, a repair and an
//!   update are the same code path, and applying twice does nothing the second time.
//! - Order is part of the plan and is safe at every point: a namespace forwards only once its filters and translations are in;
//!   traffic is steered last on the way in and first on the way out; connection tracking of what is withdrawn is purged where
//!   the translation happens.
//! - Iterated collections are ordered. The word *snapshot* means a file in `snapshots/`; a read-back is *observed*.
//! - Probes, records and reports use observed state and packets only, never the plan, so that another router can stand in the
//!   place of this one.
//! - There is no `unsafe` code.

pub mod backend;
pub mod deviation;
pub mod name;
pub mod net;

pub mod flow;
pub mod ledger;
pub mod memory;
pub mod packet;
pub mod topology;

pub mod api;
pub mod router;
pub mod watch;

pub mod namespace;
pub mod plan;
pub mod why;

pub mod capture;
pub mod dataplane;

pub mod kernel;
pub mod lab;
pub mod probe;

pub mod scenario;

pub mod record;
pub mod report;

pub mod diff;

pub mod run;

pub mod replay;

pub mod snapshot;

pub mod harness;

pub mod cli;
