//! What a scenario requires of the machine, looked for before it is run.
//!
//! In: the entries of `requires`. Out: the first that is not there, in words. Never: a change of anything.

use std::error::Error;

use crate::kernel::{command, iptables};
use crate::scenario::Feature;

/// The first of these that this machine or this version does not have.
pub(super) fn missing(requires: &[Feature]) -> Option<String> {
    requires.iter().find_map(|feature| match feature {
        Feature::Iptables => {
            let error = iptables::available().err()?;
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            Some(format!("it requires iptables: {error}{cause}"))
        }
        Feature::Ha => Some("it requires routers with a standby, which this version does not have".to_owned()),
        Feature::Program(name) => (!command::exists(name))
            .then(|| format!("it requires the program {name}, which this machine does not have")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_not_there_is_told() {
        let program = |name: &str| Feature::Program(name.to_owned());
        assert_eq!(missing(&[program("sh")]), None);
        let told = missing(&[program("sh"), program("no-such-program"), Feature::Ha]);
        assert_eq!(told.as_deref(), Some("it requires the program no-such-program, which this machine does not have"));
        assert!(missing(&[Feature::Ha]).is_some());
    }
}
