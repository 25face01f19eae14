//! A scenario once more in every order of its notifications that was asked for.
//!
//! In: the record of the run as the file says. Out: how many orders there were, and the first that leads elsewhere. Never: a run
//! after one that did.

use crate::harness::HarnessError;
use crate::record::Record;
use crate::report::{self, Reordered};
use crate::run::{Delivery, Orders};

/// More runs of one scenario are nothing to wait for.
const MOST: u64 = 1000;

/// What came of the orders of a scenario.
pub(super) enum Outcome {
    /// So many lead to one end, and everything twice does, too.
    Alike(u64),
    /// There are so many in this step.
    TooMany(u64, String),
    /// One order leads elsewhere than the usual one.
    Differs {
        /// What the hosts heard in the usual order.
        usual: Vec<String>,
        /// The other order, and in what it differs.
        other: Reordered,
    },
    /// A run has no record.
    Broken(HarnessError),
}

/// Runs a scenario in every order.
pub(super) fn all(orders: Orders, base: &Record, run: &dyn Fn(Delivery) -> Result<Record, HarnessError>) -> Outcome {
    let first = match run(Delivery::Order(orders, 0)) {
        Ok(first) => first,
        Err(error) => return Outcome::Broken(error),
    };
    let counts = first.steps.iter().filter_map(|step| Some((step.delivery.as_ref()?.orders, step)));
    let (count, longest) = counts
        .max_by_key(|(count, _)| *count)
        .map_or((1, String::new()), |(count, step)| (count, report::step_title(step)));
    if count > MOST {
        return Outcome::TooMany(count, longest);
    }
    let differing = |with: &Record| {
        report::reordered(base, with).map(|other| {
            let same = first.steps.iter().find(|step| report::step_title(step) == other.step);
            let usual = same.and_then(|step| step.delivery.clone()).map(|delivery| delivery.order);
            Outcome::Differs { usual: usual.unwrap_or_default(), other }
        })
    };
    if let Some(found) = differing(&first) {
        return found;
    }
    let others = (1..count).map(|number| Delivery::Order(orders, number));
    for delivery in others.chain([Delivery::Twice]) {
        match run(delivery) {
            Ok(with) => {
                if let Some(found) = differing(&with) {
                    return found;
                }
            }
            Err(error) => return Outcome::Broken(error),
        }
    }
    Outcome::Alike(count)
}

/// How a difference is told, a line each. A step in which nobody is told of anything may end otherwise by what came before.
pub(super) fn told(usual: &[String], other: &Reordered) -> Vec<String> {
    let order = |name: &str, order: &[String]| (!order.is_empty()).then(|| format!("{name}: {}", order.join("; ")));
    let orders = [order("- as asked", usual), order("+ this time", &other.order)];
    orders.into_iter().flatten().chain(other.lines.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_without_notifications_has_no_order_to_tell() {
        let other = |order: &[&str]| Reordered {
            step: "step 2".to_owned(),
            order: order.iter().map(ToString::to_string).collect(),
            lines: vec!["- a".to_owned()],
        };
        assert_eq!(told(&[], &other(&[])), ["- a"]);
        assert_eq!(told(&["one".to_owned()], &other(&["two"])), ["- as asked: one", "+ this time: two", "- a"]);
    }
}
