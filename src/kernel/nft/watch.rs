//! The watch in the kernel: a table of family bridge on a provider segment, in which each frame of a host's port is counted
//! by the first rule that it matches, and logged if it must not be there.
//!
//! In: classification rules for each host, whose ports are known by their device group from the moment they are ports.
//! Out: named counters. Never: a frame changed or dropped, and never a rule removed: a host that is classified anew gets a
//! new chain, and a goto to it in front of all older ones, in one transaction. A removal would make the next transaction
//! anywhere wait for a grace period, and a frame in flight would find no rule. The counters are those of the table and go on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_bindings::nftables::{ObjAttrs, ObjData, PushObjAttrs};
use netlink_sys::Socket;

use super::error::{Cause, NftError};
use super::expression::{
    COUNTER_OBJECT, Expression, LINK_HEADER, META_IN_GROUP, META_L4PROTO, META_PROTOCOL, NETWORK_HEADER,
    TRANSPORT_HEADER, Verdict,
};
use super::message::{BRIDGE, Base, GET_OBJECT, Place, Transaction};
use crate::kernel::nfnetlink::{DUMP, ask};
use crate::name::HostName;
use crate::net::IpNet;
use crate::probe::ALONG;
use crate::watch::{Class, Rule, Says};

/// The table.
const TABLE: &str = "dvrlab-watch";
/// Its base chain.
const BASE: &str = "in";
/// Before every other chain of the hook.
const PRIORITY: i32 = -500;
/// NF_BR_PRE_ROUTING
const PREROUTING: u32 = 0;
/// The log group that evidence goes to.
pub const EVIDENCE_GROUP: u16 = 1;
/// How much of a frame is kept, from the IP or ARP header on: enough for every address and port.
pub const EVIDENCE_BYTES: u32 = 128;

/// EtherTypes.
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// ICMPv6 as a transport protocol, and its neighbour advertisement.
const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;

/// Where pings have what marks those that run along, from the ICMP header on: its own payload, and what an error quotes of one,
/// behind an IPv4 or IPv6 header and its ICMP header.
const ALONG_AT: [u32; 3] = [8, 8 + 20 + 8, 8 + 40 + 8];

/// A host on a segment, as it is to be classified.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The device group of its ports.
    pub group: u32,
    /// Its name.
    pub host: &'a HostName,
    /// Its rules.
    pub rules: &'a [Rule],
}

/// Classifies hosts from now on. `generation` is a number that the segment has not seen yet.
///
/// # Errors
/// [`NftError::Refused`] when the kernel does not take it; then everything is counted as before.
pub fn watch(socket: &Socket, generation: u32, senders: &[Sender<'_>]) -> Result<(), NftError> {
    let cause = Cause::Table(TABLE.to_owned());
    let mut transaction = Transaction::begin(None);
    transaction.new_table(BRIDGE, TABLE, &cause);
    let base = Base { kind: "filter", hook: PREROUTING, priority: PRIORITY, device: None };
    transaction.new_chain(BRIDGE, (TABLE, BASE), Some(base), &Cause::Chain(BASE.to_owned()));
    for sender in senders {
        for class in Class::ALL {
            transaction.new_counter(BRIDGE, (TABLE, &label(sender.host, class)), &cause);
        }
        let chain = format!("{}-{generation}", sender.host);
        transaction.new_chain(BRIDGE, (TABLE, &chain), None, &Cause::Chain(chain.clone()));
        for offset in ALONG_AT {
            let cause = Cause::Rule(chain.clone(), 0);
            transaction.new_rule(BRIDGE, (TABLE, &chain), (&passed_over(offset), None), Place::End, &cause);
        }
        for (position, rule) in sender.rules.iter().enumerate() {
            let cause = Cause::Rule(chain.clone(), position);
            let content = (expressions(sender.host, rule), None);
            transaction.new_rule(BRIDGE, (TABLE, &chain), (&content.0, content.1), Place::End, &cause);
        }
        let dispatch = [
            Expression::Meta(META_IN_GROUP),
            Expression::Compare { not: false, value: sender.group.to_ne_bytes().to_vec() },
            Expression::Verdict(Verdict::Goto(chain)),
        ];
        let cause = Cause::Rule(BASE.to_owned(), 0);
        transaction.new_rule(BRIDGE, (TABLE, BASE), (&dispatch, None), Place::Start, &cause);
    }
    transaction.commit(socket)
}

/// Every counter by its name, counted since it was made.
///
/// # Errors
/// [`NftError::Exchange`]; nothing is counted before the first [`watch()`].
pub fn counters(socket: &Socket) -> Result<BTreeMap<String, u64>, NftError> {
    let mut counters = BTreeMap::new();
    let filter = |bytes: &mut Vec<u8>| {
        PushObjAttrs::new(bytes).push_table_bytes(TABLE.as_bytes()).push_type(COUNTER_OBJECT);
    };
    // A dump that was interrupted by a change is as good: counters only grow, and none is ever removed.
    ask(socket, (GET_OBJECT, DUMP), BRIDGE, filter, |message| {
        let attributes = ObjAttrs::new(message.attributes);
        if let (Ok(name), Ok(ObjData::Counter(counter))) = (attributes.get_name(), attributes.get_data()) {
            counters.insert(name.to_string_lossy().into_owned(), counter.get_packets().unwrap_or(0));
        }
        Ok(())
    })?;
    Ok(counters)
}

/// The name of a host's counter for a class, which is also what its evidence is labelled with.
fn label(host: &HostName, class: Class) -> String {
    format!("{host}.{}", word(class))
}

/// Whose and which class's a label is.
pub fn class_of(label: &str) -> Option<(HostName, Class)> {
    let (host, class) = label.rsplit_once('.')?;
    let class = Class::ALL.into_iter().find(|known| word(*known) == class)?;
    Some((HostName::new(host).ok()?, class))
}

fn word(class: Class) -> String {
    class.name().replace(' ', "-")
}

fn expressions(host: &HostName, rule: &Rule) -> Vec<Expression> {
    let mut all = Vec::new();
    if let Some(mac) = rule.mac {
        all.push(Expression::Payload { base: LINK_HEADER, offset: 6, length: 6 });
        all.push(Expression::Compare { not: false, value: mac.0.to_vec() });
    }
    match rule.says {
        Says::Claim(IpNet::V4(net)) => {
            all.extend(ethertype(ARP));
            all.extend(within((NETWORK_HEADER, 14), net.into()));
        }
        Says::Claim(IpNet::V6(net)) => {
            all.extend([
                Expression::Meta(META_L4PROTO),
                Expression::Compare { not: false, value: vec![ICMPV6] },
                Expression::Payload { base: TRANSPORT_HEADER, offset: 0, length: 1 },
                Expression::Compare { not: false, value: vec![ADVERTISEMENT] },
            ]);
            all.extend(within((TRANSPORT_HEADER, 8), net.into()));
        }
        Says::Packet(IpNet::V4(net)) => {
            all.extend(ethertype(IPV4));
            all.extend(within((NETWORK_HEADER, 12), net.into()));
        }
        Says::Packet(IpNet::V6(net)) => {
            all.extend(ethertype(IPV6));
            all.extend(within((NETWORK_HEADER, 8), net.into()));
        }
        Says::Anything => {}
    }
    let label = label(host, rule.class);
    all.push(Expression::CountBy(label.clone()));
    if rule.class.is_violation() {
        all.push(Expression::Log { group: EVIDENCE_GROUP, prefix: label, bytes: EVIDENCE_BYTES });
    }
    all.push(Expression::Verdict(Verdict::Accept));
    all
}

/// Neither counted nor logged.
fn passed_over(offset: u32) -> [Expression; 3] {
    [
        Expression::Payload { base: TRANSPORT_HEADER, offset, length: 6 },
        Expression::Compare { not: false, value: ALONG.to_vec() },
        Expression::Verdict(Verdict::Accept),
    ]
}

fn ethertype(number: u16) -> [Expression; 2] {
    [Expression::Meta(META_PROTOCOL), Expression::Compare { not: false, value: number.to_be_bytes().to_vec() }]
}

/// An address in the packet lies in a prefix.
fn within((base, offset): (u32, u32), net: IpNet) -> Vec<Expression> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let value = octets(net.network());
    let length = u32::try_from(value.len()).expect("an address is short");
    let load = Expression::Payload { base, offset, length };
    let compare = Expression::Compare { not: false, value };
    match net.prefix_len() {
        0 => Vec::new(),
        full if full == net.max_prefix_len() => vec![load, compare],
        _ => vec![load, Expression::And(octets(net.netmask())), compare],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back() {
        for host in ["net1", "compute-1.example.org"] {
            let host = HostName::new(host).unwrap();
            for class in Class::ALL {
                assert_eq!(class_of(&label(&host, class)), Some((host.clone(), class)));
            }
        }
        assert_eq!(class_of("net1"), None);
    }
}
