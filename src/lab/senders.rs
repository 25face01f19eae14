//! Namespaces of routers that send probes by their own kernels: these must not see the answers, or they would refuse them.
//!
//! In: flows. Out: an nftables chain in each sender's namespace, for as long as the probes take. Never: a rule that an
//! observation shows, or that another packet meets.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Lab, make};
use crate::flow::{Flow, Place, Protocol};
use crate::kernel::Netns;
use crate::kernel::nft::{self, FrameMatch, NftError};
use crate::net::PortRange;

/// Protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What the senders' kernels do not see; that ends with this value.
pub(super) struct Hidden(Vec<Rc<Netns>>);

impl Drop for Hidden {
    fn drop(&mut self) {
        for netns in &self.0 {
            if let Err(error) = nft::remove_input(netns.nf()) {
                tracing::warn!(error = %make::reason(&error), "a rule of the probes' own stays in a namespace");
            }
        }
    }
}

impl Lab {
    /// Hides answers to flows from the kernels of the namespaces that send them. Connection tracking, and what is translated
    /// back, come before.
    pub(super) fn hide_answers(&self, flows: &[Flow]) -> Result<Hidden, NftError> {
        let mut senders: BTreeMap<&Place, Vec<FrameMatch>> = BTreeMap::new();
        for flow in flows.iter().filter(|flow| flow.from.host.is_some()) {
            let protocol = match flow.protocol {
                Protocol::Tcp(_) => TCP,
                Protocol::Udp(_) => UDP,
                Protocol::Icmp | Protocol::Arp => continue,
            };
            let range = flow.options.source_port.map_or(super::ports::PROBES, PortRange::from);
            let matches = senders.entry(&flow.from).or_default();
            let hides = FrameMatch::DestinationPort(protocol, range);
            if !matches.contains(&hides) {
                matches.push(hides);
            }
        }
        let mut hidden = Hidden(Vec::new());
        for (sender, matches) in senders {
            let Some(netns) = self.netns(sender) else { continue };
            nft::drop_input(netns.nf(), &matches)?;
            hidden.0.push(netns);
        }
        Ok(hidden)
    }
}
