//! The order in which hosts hear of a step's changes, where a run is asked for another than the usual one.
//!
//! In: the messages of a step, and which order of how many is wanted. Out: the messages one after the other. Never: chance: the
//! same number is the same order every time. What the file says of a host's notifications holds, so that these stay together.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::agents::Message;
use super::{Driver, failure};
use crate::api::Intent;
use crate::name::HostName;
use crate::record::{DeliveryRecord, FailureKind, StepRecord};
use crate::scenario::{Hearing, Operation, Step};

/// Which orders of a step's notifications are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orders {
    /// All there are.
    All,
    /// The one in which the changes were made, and all in which two notifications have changed places.
    Pairs,
    /// So many, evenly spread over all there are, the first and the last among them.
    Some(u32),
}

/// How the notifications of every step arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// One notification a change, in the order of this number, counted from 0; a step with fewer orders begins again.
    Order(Orders, u64),
    /// One notification a change, each of them twice in succession; and every change is asked for twice.
    Twice,
}

impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Pairs => f.write_str("pairs"),
            Self::Some(number) => write!(f, "{number}"),
        }
    }
}

impl FromStr for Orders {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "pairs" => Ok(Self::Pairs),
            number => number
                .parse()
                .ok()
                .filter(|number| *number > 0)
                .map(Self::Some)
                .ok_or_else(|| "write `all`, `pairs` or a number from 1".to_owned()),
        }
    }
}

/// How many orders so many things have; a number that is too great is the greatest there is.
fn factorial(things: usize) -> u64 {
    (1..=things).fold(1, |product: u64, factor| product.saturating_mul(u64::try_from(factor).unwrap_or(u64::MAX)))
}

impl Orders {
    /// How many orders are tried of so many notifications.
    fn count(self, things: usize) -> u64 {
        match self {
            Self::All => factorial(things),
            Self::Pairs => u64::try_from(things * things.saturating_sub(1) / 2 + 1).unwrap_or(u64::MAX),
            Self::Some(number) => u64::from(number).min(factorial(things)),
        }
    }

    /// The order of this number: positions in the order in which the changes were made.
    fn order(self, things: usize, number: u64) -> Vec<usize> {
        match self {
            Self::All => permutation(things, number),
            Self::Pairs => {
                let mut order: Vec<usize> = (0..things).collect();
                let pairs = (0..things).flat_map(|one| (one + 1..things).map(move |other| (one, other)));
                let chosen = usize::try_from(number).unwrap_or(usize::MAX);
                if let Some((one, other)) = chosen.checked_sub(1).and_then(|at| pairs.into_iter().nth(at)) {
                    order.swap(one, other);
                }
                order
            }
            Self::Some(_) => {
                let last = u128::from(factorial(things) - 1);
                let steps = u128::from(self.count(things).saturating_sub(1).max(1));
                permutation(things, u64::try_from(u128::from(number) * last / steps).unwrap_or(u64::MAX))
            }
        }
    }
}

/// The permutation of this number in lexicographic order: 0 is the identity, the last one the reverse.
fn permutation(things: usize, mut number: u64) -> Vec<usize> {
    let mut left: Vec<usize> = (0..things).collect();
    let mut order = Vec::new();
    for after in (0..things).rev() {
        let each = factorial(after);
        let at = usize::try_from(number / each).unwrap_or(usize::MAX).min(left.len() - 1);
        number %= each;
        order.push(left.remove(at));
    }
    order
}

impl Driver<'_> {
    /// How a step's notifications arrive, if not as usual. Where an agent dies on the way the file means one order.
    pub(super) fn delivery_of(&self, step: &Step) -> Option<Delivery> {
        self.options.delivery.filter(|_| step.crash.is_none())
    }

    /// The messages of a step in the order in which they arrive: one host after the other, or as the run is asked for.
    pub(super) fn deliveries(
        &self,
        mut mail: BTreeMap<HostName, Vec<Message>>,
        next: &Intent,
        said: &BTreeMap<HostName, Hearing>,
        record: &mut StepRecord,
    ) -> Vec<(HostName, Vec<Message>)> {
        let hosts = self.agents.order(&mail, next);
        let whole = |host: HostName| mail.remove(&host).map(|messages| (host, messages));
        let usual: Vec<(HostName, Vec<Message>)> = hosts.into_iter().filter_map(whole).collect();
        let Some(delivery) = self.delivery else { return usual };
        let mut single = Vec::new();
        for (host, messages) in usual {
            if said.contains_key(&host) {
                single.push((host, messages));
            } else {
                single.extend(messages.into_iter().map(|message| (host.clone(), vec![message])));
            }
        }
        let (orders, order): (u64, Vec<usize>) = match delivery {
            Delivery::Order(orders, number) => {
                let count = orders.count(single.len());
                (count, orders.order(single.len(), number % count.max(1)))
            }
            Delivery::Twice => (1, (0..single.len()).flat_map(|at| [at, at]).collect()),
        };
        let deliveries: Vec<(HostName, Vec<Message>)> =
            order.into_iter().filter_map(|at| single.get(at).cloned()).collect();
        let told = |(host, messages): &(HostName, Vec<Message>)| {
            let texts: Vec<String> = messages.iter().map(ToString::to_string).collect();
            format!("{host} hears {}", texts.join(", then "))
        };
        record.delivery = Some(DeliveryRecord { orders, order: deliveries.iter().map(told).collect() });
        deliveries
    }

    /// Asks once more for what was just asked for, if the run is to do so: nothing may come of it.
    pub(super) fn ask_again(&self, intent: &Intent, operation: &Operation, line: usize, record: &mut StepRecord) {
        // What the API refuses the second time changes nothing.
        if self.delivery == Some(Delivery::Twice)
            && let Ok(again) = operation.apply(intent)
            && again != *intent
        {
            let text = format!("`{}` done twice is not what it is done once", operation.text);
            record.failures.push(failure(FailureKind::Api, Some(line), text));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Orders;

    #[test]
    fn all_orders_are_different_and_begin_and_end_where_they_should() {
        let all: Vec<Vec<usize>> = (0..Orders::All.count(4)).map(|number| Orders::All.order(4, number)).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 24);
        assert_eq!(all.first(), Some(&vec![0, 1, 2, 3]));
        assert_eq!(all.last(), Some(&vec![3, 2, 1, 0]));
    }

    #[test]
    fn pairs_change_two_places() {
        let all: BTreeSet<Vec<usize>> =
            (0..Orders::Pairs.count(3)).map(|number| Orders::Pairs.order(3, number)).collect();
        assert_eq!(all, [vec![0, 1, 2], vec![1, 0, 2], vec![2, 1, 0], vec![0, 2, 1]].into());
        assert_eq!(Orders::Pairs.count(0), 1);
    }

    #[test]
    fn some_are_spread_from_the_first_to_the_last() {
        let three = Orders::Some(3);
        let found: Vec<Vec<usize>> = (0..3).map(|number| three.order(3, number)).collect();
        assert_eq!(found, [vec![0, 1, 2], vec![1, 0, 2], vec![2, 1, 0]]);
        assert_eq!((three.count(1), three.count(3), Orders::Some(99).count(30)), (1, 3, 99));
        assert_eq!(Orders::Some(2).order(30, 1).first(), Some(&0), "beyond what can be counted the spread ends early");
    }
}
