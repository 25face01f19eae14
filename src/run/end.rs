//! The end of a run.
//!
//! In: a lab in which the last step is done. Out: a record of what was left when everything had been deleted.

use std::collections::BTreeMap;

use tracing::info_span;

use super::{Driver, blank, failure, links};
use crate::api::Intent;
use crate::record::{FailureKind, StepRecord};

impl Driver<'_> {
    /// Deletes everything but the hosts; no router may leave anything in any of them. The fabric goes with the lab: to remove it
    /// device by device would only take time.
    pub(super) fn take_down(&mut self, number: usize) -> StepRecord {
        let mut record = blank(number, None, 0);
        let _span = info_span!("step", number).entered();
        self.faults.end();
        self.ledger_end(&mut record);
        self.watch_proof(&mut record);
        let empty = Intent {
            host_order: self.intent.host_order.clone(),
            hosts: self.intent.hosts.clone(),
            settings: self.intent.settings,
            ..Intent::default()
        };
        self.agents.revive(&empty);
        self.links = links::Links::default();
        if let Some(coming) = self.coming(vec![self.intent.clone(), empty], &BTreeMap::new(), &mut record) {
            self.follow(coming, &mut record);
        }
        self.check(&mut record);
        self.watch_judge(None, &mut record);
        for (place, lines) in &record.state {
            let mut left = failure(FailureKind::Residue, None, format!("{place} is left after everything was deleted"));
            left.details = lines.iter().filter(|line| !line.constant).map(|line| line.text.clone()).collect();
            record.failures.push(left);
        }
        record
    }
}
