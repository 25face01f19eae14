//! `dvrlab` runs a distributed virtual router (DVR) with source NAT - the router that OpenStack Neutron's L3 agent builds -
//! inside throwaway network namespaces, changes it by scenario files, sends real packets through it, and records what stands
//! in every namespace and who reached whom, **as which source address, through which host**.
//!
//! # In your own tests
//!
//! ```no_run
//! #[test]
//! fn source_nat() {
//!     dvrlab::scenario!("scenarios/snat.yaml");
//! }
//! ```
//!
//! [`scenario!`](crate::scenario!) runs a file and compares with its snapshots in your repository; [`Test`] has the rest: scenarios
//! given as text, deviations, what came of a run without a verdict. Each lab is a process of its own with namespaces of its own, made
//! of your test's binary, which is started anew and acts before its `main`: so neither root nor the installed program is needed, and
//! an unprivileged user, several tests at a time and `cargo nextest` are fine. Where no namespace can be made such a test fails, and
//! says which setting forbids it. `dvrlab new` writes a scenario to begin with, `scenarios/README.md` is the guide to the language,
//! and `examples/cargo-test` a whole project. Have your dependencies optimised (`[profile.dev.package."*"] opt-level = 2`): it
//! is they that build labs.
//!
//! That is all there is of an interface: the modules below are the inside of the program, public for its own tests alone, and change
//! without notice. `RUSTDOCFLAGS="--cfg dvrlab_internals" cargo doc` shows them.
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
//! | [`mod@scenario`] | the scenario language: reading, checking, judging |
//! | [`run`] | drives a scenario over a data plane, step by step |
//! | [`replay`] | drives an agent by recorded router dicts, and prints what stands then as the recordings have it |
//! | [`diff`] | what behaves differently in two runs, and which rules went with it |
//! | [`record`], [`report`], [`snapshot`] | what a run leaves behind, its printed forms, the files in `snapshots/` |
//! | [`harness`] | a sandbox of its own for each scenario |
//! | [`cli`] | the only place that prints |
//! | `library` | [`scenario!`](crate::scenario!), [`Test`]: the crate in somebody else's `cargo test` |
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

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod backend;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod deviation;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod name;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod net;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod flow;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod ledger;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod memory;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod packet;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod topology;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod api;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod router;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod watch;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod namespace;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod plan;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod why;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod capture;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod dataplane;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod kernel;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod lab;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod probe;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod scenario;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod record;
#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod report;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod diff;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod run;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod replay;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod snapshot;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod harness;

#[cfg_attr(not(dvrlab_internals), doc(hidden))]
pub mod cli;

mod library;

pub use library::{Run, Test, TestError};
