//! Who announced which address in a step.
//!
//! In: what is heard on provider segments while a step makes its change. Out: whether sentences about announcements hold.
//! Never: a verdict on what was not heard to its end.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::frames::Announcement;
use super::{Driver, dataplane_failure, failure};
use crate::record::{FailureKind, StepRecord};
use crate::scenario::{Announcer, Expected, Step};

impl Driver<'_> {
    /// The change of a step is done: holds what was announced meanwhile against the sentences about it.
    pub(super) fn judge_announced(&self, step: &Step, record: &mut StepRecord) {
        if let Err(error) = self.hear() {
            record.failures.push(dataplane_failure(&error));
        }
        let heard = self.announced_so_far();
        for expectation in &step.expectations {
            let Expected::Announced(expected) = &expectation.what else { continue };
            let wrong = match &heard {
                Ok(all) => unlike(expected.by.as_ref(), &self.announcers(all, expected.address)),
                Err(missed) => Some(format!("{missed} frames were missed, so it is not known who announced it")),
            };
            if let Some(wrong) = wrong {
                let text = format!("`{}`: {wrong}", expectation.text);
                record.failures.push(failure(FailureKind::Expectation, Some(expectation.line), text));
            }
        }
    }

    /// Who announced an address, and how often: a request and a reply are one announcement, told to two kinds of listeners.
    fn announcers(&self, heard: &[Announcement], address: IpAddr) -> BTreeMap<String, usize> {
        let mut told: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for one in heard.iter().filter(|one| one.address == address) {
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
