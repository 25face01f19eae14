//! `dvrlab` runs a distributed virtual router (DVR) with source NAT inside throwaway network namespaces, changes it by
//! scenario files, and records who reached whom, as which source address, through which host.

pub mod api;
pub mod cli;
pub mod dataplane;
pub mod flow;
pub mod kernel;
pub mod lab;
pub mod name;
pub mod namespace;
pub mod net;
pub mod plan;
pub mod probe;
pub mod record;
pub mod report;
pub mod router;
pub mod run;
pub mod scenario;
pub mod topology;
