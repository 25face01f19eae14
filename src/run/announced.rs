//! Who announced which address in a step.
//!
//! In: what is heard on provider segments while a step makes its change. Out: whether sentences about announcements hold.
//! Never: anybody listening where no sentence asks for it, and never a verdict on what was not heard to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Driver, dataplane_failure, failure};
use crate::dataplane::{Announced, DataplaneError};
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{Announcer, Expected, Scenario, Step};

/// What was heard in a step.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Some sentence asks for it.
    wanted: bool,
    heard: RefCell<Announced>,
}

impl Heard {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut all = scenario.steps.iter().flat_map(|step| &step.expectations);
        Self { wanted: all.any(|one| matches!(one.what, Expected::Announced(_))), ..Self::default() }
    }
}

impl Driver<'_> {
    /// A step begins: what was announced up to now is none of it.
    pub(super) fn hear_anew(&self, record: &mut StepRecord) {
        if let Err(error) = self.hear() {
            record.failures.push(dataplane_failure(&error));
        }
        self.announced.heard.take();
    }

    /// Takes what was announced up to now. To be asked often: a socket holds a few hundred frames.
    pub(super) fn hear(&self) -> Result<(), DataplaneError> {
        if self.announced.wanted {
            let more = self.dataplane.announced()?;
            let mut heard = self.announced.heard.borrow_mut();
            heard.frames.extend(more.frames);
            heard.missed += more.missed;
        }
        Ok(())
    }

    /// The change of a step is done: holds what was announced meanwhile against the sentences about it.
    pub(super) fn judge_announced(&self, step: &Step, record: &mut StepRecord) {
        if let Err(error) = self.hear() {
            record.failures.push(dataplane_failure(&error));
        }
        let heard = self.announced.heard.take();
        for expectation in &step.expectations {
            let Expected::Announced(expected) = &expectation.what else { continue };
            let told = self.announcers(&heard, expected.address);
            let wrong = if heard.missed > 0 {
                Some(format!("{} frames were missed, so it is not known who announced it", heard.missed))
            } else {
                unlike(expected.by.as_ref(), &told)
            };
            if let Some(wrong) = wrong {
                let text = format!("`{}`: {wrong}", expectation.text);
                record.failures.push(failure(FailureKind::Expectation, Some(expectation.line), text));
            }
        }
    }

    /// Who announced an address, and how often: a request and a reply are one announcement, told to two kinds of listeners.
    fn announcers(&self, heard: &Announced, address: IpAddr) -> BTreeMap<String, usize> {
        let mut told: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for one in heard.frames.iter().filter(|one| one.address == address) {
            let owner = self.macs.get(&one.mac).map_or_else(|| one.mac.to_string(), Clone::clone);
            let (requests, replies) = told.entry(owner).or_default();
            *(if one.reply { replies } else { requests }) += 1;
        }
        let mut hosts = BTreeMap::new();
        for (owner, (requests, replies)) in told {
            let host = owner.split('/').next().unwrap_or(&owner).to_owned();
            *hosts.entry(host).or_default() += requests.max(replies);
        }
        hosts
    }
}

/// What was told instead of what should be, if anything.
fn unlike(wanted: Option<&Announcer>, told: &BTreeMap<String, usize>) -> Option<String> {
    let holds = match wanted {
        None => told.is_empty(),
        Some(by) => {
            let alone = told.keys().all(|host| host == by.host.as_str());
            let times = told.get(by.host.as_str()).copied().unwrap_or_default();
            alone && by.times.map_or(times > 0, |wanted| times == wanted)
        }
    };
    let by: Vec<String> = told.iter().map(|(host, times)| format!("by {host} {times} times")).collect();
    match (holds, by.is_empty()) {
        (true, _) => None,
        (false, true) => Some("nobody announced it".to_owned()),
        (false, false) => Some(format!("announced {}", by.join(" and "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::HostName;

    #[test]
    fn only_the_named_host_and_as_often_as_said() {
        let by = |times| Announcer { host: HostName::new("cmp2").unwrap(), times };
        let told = |all: &[(&str, usize)]| all.iter().map(|(host, times)| ((*host).to_owned(), *times)).collect();
        let (none, once, twice) = (told(&[]), told(&[("cmp2", 1)]), told(&[("cmp2", 2)]));
        let both = told(&[("cmp1", 1), ("cmp2", 1)]);
        assert_eq!(unlike(None, &none), None);
        assert_eq!(unlike(None, &once), Some("announced by cmp2 1 times".to_owned()));
        assert_eq!(unlike(Some(&by(None)), &none), Some("nobody announced it".to_owned()));
        assert_eq!(unlike(Some(&by(None)), &twice), None);
        assert_eq!(unlike(Some(&by(Some(1))), &once), None);
        assert_eq!(unlike(Some(&by(Some(1))), &twice), Some("announced by cmp2 2 times".to_owned()));
        assert_eq!(unlike(Some(&by(None)), &both), Some("announced by cmp1 1 times and by cmp2 1 times".to_owned()));
    }
}
