//! What changes in a namespace, as the kernel tells it while it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use dvrlab::kernel::Netns;
use dvrlab::kernel::print::{Names, message_line};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};

/// Of links, neighbours, addresses, routes and rules of both families. Source: linux/rtnetlink.h.
const ROUTE_GROUPS: [u32; 8] = [1, 3, 5, 7, 8, 9, 11, 19];
/// Of nf_tables. Source: linux/netfilter/nfnetlink.h.
const NFT_GROUP: u32 = 7;
/// Of rules that come and go. Source: linux/netfilter/nf_tables.h, nfnetlink.h.
const NEW_RULE: u16 = 10 << 8 | 6;
const DELETED_RULE: u16 = 10 << 8 | 8;
/// Enough for every event of a transition.
const BUFFER: usize = 8 << 20;

pub(crate) struct Monitor {
    netns: Rc<Netns>,
    route: Socket,
    nft: Socket,
    names: Names,
}

impl Monitor {
    pub(crate) fn new(netns: Rc<Netns>) -> Self {
        let open = |protocol, groups: &[u32]| {
            let mut socket = Socket::new(protocol).unwrap();
            socket.bind_auto().unwrap();
            socket.set_rx_buf_sz(BUFFER).unwrap();
            for group in groups {
                socket.add_membership(*group).unwrap();
            }
            socket.set_non_blocking(true).unwrap();
            socket
        };
        let (route, nft) =
            netns.run_in(|| (open(NETLINK_ROUTE, &ROUTE_GROUPS), open(NETLINK_NETFILTER, &[NFT_GROUP]))).unwrap();
        let names = names(&netns);
        Self { netns, route, nft, names }
    }

    pub(crate) fn inode(&self) -> u64 {
        self.netns.inode()
    }

    /// What stood there before, stands there after, and was told of in between. A device whose other end has `moved` is
    /// another device of the same name.
    pub(crate) fn touched(&self, before: &[String], after: &[String], moved: &BTreeSet<String>) -> Vec<String> {
        let mut names = self.names.clone();
        names.extend(self::names(&self.netns));
        let changing = changing(before, after);
        let mut found = Vec::new();
        for message in messages(&self.route) {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&message).unwrap();
            let NetlinkPayload::InnerMessage(message) = message.payload else { continue };
            if let Some(line) = message_line(&message, &names)
                && before.contains(&line)
                && after.contains(&line)
                && !withdrawn(&line, &changing)
                && !line.split_whitespace().any(|word| moved.contains(word))
            {
                found.push(line);
            }
        }
        let (mut new, mut deleted) = (0, 0);
        for message in messages(&self.nft) {
            match u16::from_ne_bytes([message[4], message[5]]) {
                NEW_RULE => new += 1,
                DELETED_RULE => deleted += 1,
                _ => {}
            }
        }
        let (gone, come) = rule_changes(before, after);
        if deleted > gone || new > come {
            found.push(format!("{deleted} table rules went and {new} came, where {gone} and {come} would do"));
        }
        found
    }
}

/// The addresses whose translation is not the same before and after.
fn changing<'a>(before: &'a [String], after: &'a [String]) -> BTreeSet<&'a str> {
    let only_in = |these: &'a [String], those: &'a [String]| {
        let nat = these.iter().filter(move |line| line.starts_with("ip4t  nat -A ") && !those.contains(line));
        nat.flat_map(|line| line.split_whitespace()).map(|word| word.trim_end_matches("/32"))
    };
    only_in(before, after).chain(only_in(after, before)).collect()
}

/// What leads traffic to a translation is taken away while that changes, and put back: `from FIXED lookup 16`.
fn withdrawn(line: &str, changing: &BTreeSet<&str>) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    matches!(words.as_slice(), ["rule4", _, "from", fixed, "lookup", "16"] if changing.contains(fixed))
}

/// How many rules have to go and come at least, chain by chain in order.
fn rule_changes(before: &[String], after: &[String]) -> (usize, usize) {
    let (before, after) = (by_chain(before), by_chain(after));
    let chains: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let none = Vec::new();
    let mut total = (0, 0);
    for chain in chains {
        let (old, new) = (before.get(chain).unwrap_or(&none), after.get(chain).unwrap_or(&none));
        let diff = similar::TextDiff::from_slices(old, new);
        for change in diff.iter_all_changes() {
            match change.tag() {
                similar::ChangeTag::Equal => {}
                similar::ChangeTag::Delete => total.0 += 1,
                similar::ChangeTag::Insert => total.1 += 1,
            }
        }
    }
    total
}

fn by_chain(lines: &[String]) -> BTreeMap<String, Vec<&str>> {
    let mut chains: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [family, table, "-A", chain, ..] = words.as_slice() {
            chains.entry(format!("{family} {table} {chain}")).or_default().push(line);
        }
    }
    chains
}

/// The devices that are there now.
pub(crate) fn names(netns: &Netns) -> Names {
    let read = || -> Names {
        let all = nix::net::if_::if_nameindex().unwrap();
        all.iter().map(|one| (one.index(), one.name().to_str().unwrap().parse().unwrap())).collect()
    };
    netns.run_in(read).unwrap()
}

/// Every message that has come.
fn messages(socket: &Socket) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        match socket.recv_from_full() {
            Ok((bytes, _)) => {
                let mut rest = bytes.as_slice();
                while rest.len() >= 16 {
                    let length = usize::try_from(u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]])).unwrap();
                    let length = length.clamp(16, rest.len());
                    all.push(rest[..length].to_vec());
                    rest = &rest[(length.next_multiple_of(4)).min(rest.len())..];
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
            Err(error) => panic!("the kernel told more than could be heard: {error}"),
        }
    }
}
