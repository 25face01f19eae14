//! Packets made to order: sent exchange by exchange, and what was seen held against the patterns.
//!
//! In: a step. Out: its exchanges with their verdicts, and a failure for each pattern that does not hold. Never: a packet of
//! another step.

use std::net::IpAddr;

use super::{Driver, dataplane_failure, failure};
use crate::flow::Place;
use crate::name::Name;
use crate::net::Mac;
use crate::record::{ExchangeRecord, FailureKind, StepRecord};
use crate::scenario::{Arrivals, Exchange, Step};
use crate::topology::NodePort;

impl Driver<'_> {
    /// Does the exchanges of a step, in order. The first one that does not hold ends them: what follows may build upon it.
    pub(super) fn exchanges(&self, step: &Step, record: &mut StepRecord) {
        let mut arrivals = Arrivals::new();
        for exchange in &step.exchanges {
            let failures = record.failures.len();
            for _ in 0..exchange.times {
                self.exchange(exchange, &mut arrivals, record);
                if record.failures.len() > failures {
                    return;
                }
            }
            record.exchanges.push(ExchangeRecord {
                line: exchange.line,
                sent: exchange.text.clone(),
                verdicts: exchange.lines(),
            });
        }
    }

    fn exchange(&self, exchange: &Exchange, arrivals: &mut Arrivals, record: &mut StepRecord) {
        let made = exchange.beside(&self.flows_under_way()).and_then(|made| Ok((made.volley(arrivals)?, made)));
        let (volley, exchange) = match &made {
            Ok((volley, made)) => (volley, made),
            Err(error) => {
                record.failures.push(failure(FailureKind::Expectation, Some(exchange.line), error.to_string()));
                return;
            }
        };
        let macs = |name: &Name| self.macs_of(name);
        let exchanged = self.dataplane.exchange(volley, &|seen| exchange.is_complete(seen, &macs));
        match exchanged {
            Ok(done) => {
                let owns = |place: &Place, address: IpAddr| self.owns(place, address);
                arrivals.extend(exchange.arrivals(&done.sent, &done.seen, &owns));
                for text in exchange.judge(&done.seen, &macs) {
                    let mut lines = text.lines().map(str::to_owned);
                    let text = lines.next().unwrap_or_default();
                    let mut found = failure(FailureKind::Expectation, Some(exchange.line), text);
                    found.details = lines.collect();
                    record.failures.push(found);
                }
            }
            Err(error) => {
                let mut found = dataplane_failure(&error);
                found.line = Some(exchange.line);
                record.failures.push(found);
            }
        }
    }

    fn node_ports(&self, name: &str) -> &[NodePort] {
        self.topology.nodes.get(name).map(|node| node.ports.as_slice()).unwrap_or_default()
    }

    fn macs_of(&self, name: &Name) -> Vec<Mac> {
        self.node_ports(name.as_str()).iter().map(|port| port.mac).collect()
    }

    /// Whether an address is a node's own.
    fn owns(&self, place: &Place, address: IpAddr) -> bool {
        let on_port = |port: &NodePort| port.addresses.iter().any(|net| net.addr() == address);
        let also = self.topology.nodes.get(place.name.as_str()).map(|node| node.also.as_slice()).unwrap_or_default();
        place.host.is_none()
            && (self.node_ports(&place.name).iter().any(on_port) || also.iter().any(|net| net.contains(&address)))
    }
}
