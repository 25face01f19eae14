//! The kernel's own account of what its rules do with a packet (NFT_MSG_TRACE).
//!
//! In: a namespace, and the bytes by which packets are known. Out: each rule that matched, in order. Never: a packet traced
//! that is not meant, and nothing of a namespace but the one the [`Tracer`] was made in: a trace ends where a packet leaves its
//! namespace. A chain of type nat is walked by a flow's first packet only.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use netlink_sys::{Socket, protocols};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::netns::{Netns, NetnsError};
use super::nfnetlink::{NfnetlinkError, each_message, find};
use super::nft::{NftError, Sign, TRACE_TABLE, remove_trace, set_trace};
use crate::net::Family;

/// What the socket for events may hold, bytes; the kernel grants twice `net.core.rmem_max` at most. An event takes some 1.3 kB there,
/// and a packet makes some fifty in a router's namespace.
const BUFFER: i32 = 1 << 21;
/// NFNLGRP_NFTRACE
const GROUP: u32 = 9;
/// NFT_MSG_TRACE of subsystem 10.
const TRACE: u16 = (10 << 8) | 0x11;

/// NFTA_TRACE_TABLE
const TABLE: u16 = 1;
/// NFTA_TRACE_CHAIN
const CHAIN: u16 = 2;
/// NFTA_TRACE_RULE_HANDLE
const HANDLE: u16 = 3;
/// NFTA_TRACE_TYPE
const TYPE: u16 = 4;
/// NFTA_TRACE_VERDICT
const VERDICT: u16 = 5;
/// NFTA_TRACE_MARK
const MARK: u16 = 14;
/// NFTA_TRACE_POLICY
const POLICY: u16 = 16;
/// NFTA_VERDICT_CODE
const CODE: u16 = 1;
/// NFTA_VERDICT_CHAIN
const TARGET: u16 = 2;

/// A rule that matched, or the end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's handle; none at the end of a chain.
    pub handle: Option<u64>,
    /// What follows of it.
    pub verdict: Code,
    /// The packet's mark by then.
    pub mark: u32,
}

/// What follows of a rule, or of a chain's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// NF_ACCEPT
    Accept,
    /// NF_DROP
    Drop,
    /// The next rule.
    Continue,
    /// Another chain, which returns.
    Jump(String),
    /// Another chain, which does not.
    Goto(String),
    /// Back to where the chain was called.
    Return,
    /// Another number: NF_STOLEN, NF_QUEUE and the like.
    Other(u32),
}

/// A tracer in one namespace. Dropping it leaves the trace table in place: call [`Tracer::end`].
pub struct Tracer {
    reader: JoinHandle<Result<Vec<Event>, NfnetlinkError>>,
    /// The reader ends when this is closed.
    running: UnixStream,
}

/// Why packets cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The socket for events cannot be had.
    #[error("open a socket for trace events")]
    Open(#[source] io::Error),
    /// Nothing can read the events while they come.
    #[error("read trace events beside the packets")]
    Reader(#[source] io::Error),
    /// The reader did not survive.
    #[error("read trace events beside the packets: the thread panicked")]
    Panicked,
    /// The rules that choose packets were refused.
    #[error("install the rules that choose packets")]
    Rules(#[source] NftError),
    /// The events cannot be read.
    #[error("read trace events")]
    Events(#[source] NfnetlinkError),
}

impl Tracer {
    /// Traces packets of a family that bear one of the signs from now on.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn begin(netns: &Netns, family: Family, signs: &[Sign]) -> Result<Self, TraceError> {
        let socket = netns.run_in(listener)?.map_err(TraceError::Open)?;
        let (running, ended) = UnixStream::pair().map_err(TraceError::Reader)?;
        let reader = thread::Builder::new().spawn(move || read_until(&socket, &ended)).map_err(TraceError::Reader)?;
        set_trace(netns.nf(), family, signs).map_err(TraceError::Rules)?;
        Ok(Self { reader, running })
    }

    /// Ends tracing and gives what was seen, in order: packet by packet, each beginning with the rule of [`TRACE_TABLE`] that
    /// chose it.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn end(self, netns: &Netns, family: Family) -> Result<Vec<Event>, TraceError> {
        remove_trace(netns.nf(), family).map_err(TraceError::Rules)?;
        drop(self.running);
        self.reader.join().map_err(|_panic| TraceError::Panicked)?.map_err(TraceError::Events)
    }
}

impl Event {
    /// Whether it is the rule that chose the packet; then the chain says by which sign.
    pub fn begins(&self) -> bool {
        self.table == TRACE_TABLE && self.handle.is_some()
    }
}

/// Events as they come, until the other end is closed and none is left. A packet that goes in circles makes more than any socket
/// holds.
fn read_until(socket: &Socket, ended: &UnixStream) -> Result<Vec<Event>, NfnetlinkError> {
    let mut events = Vec::new();
    loop {
        let mut places =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut places, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(NfnetlinkError::Receive(error.into())),
        }
        let over = places.last().and_then(PollFd::any).unwrap_or(false);
        each_message(socket, |kind, message| {
            if kind == TRACE {
                events.push(event(message.attributes)?);
            }
            Ok(())
        })?;
        if over {
            return Ok(events);
        }
    }
}

fn listener() -> io::Result<Socket> {
    let mut socket = Socket::new(protocols::NETLINK_NETFILTER)?;
    socket.set_rx_buf_sz(BUFFER)?;
    socket.bind_auto()?;
    socket.add_membership(GROUP)?;
    Ok(socket)
}

fn event(attributes: &[u8]) -> Result<Event, NfnetlinkError> {
    let short = || NfnetlinkError::Malformed("a trace event without its place");
    let number = |kind| find(attributes, kind).and_then(|bytes| bytes.first_chunk()).map(|b| u32::from_be_bytes(*b));
    let handle = find(attributes, HANDLE).and_then(|bytes| bytes.first_chunk()).map(|b| u64::from_be_bytes(*b));
    let verdict = match (find(attributes, VERDICT), number(POLICY)) {
        (Some(nested), _) => code(nested),
        (None, Some(policy)) => named(policy, None),
        (None, None) => Code::Continue,
    };
    // The end of a chain comes as a rule with handle 0.
    let ruled = number(TYPE) == Some(3) && handle.is_some_and(|handle| handle != 0);
    Ok(Event {
        table: text(find(attributes, TABLE).ok_or_else(short)?),
        chain: text(find(attributes, CHAIN).ok_or_else(short)?),
        handle: handle.filter(|_| ruled),
        verdict,
        mark: number(MARK).unwrap_or(0),
    })
}

/// The name without the zero that ends it.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn code(nested: &[u8]) -> Code {
    let number = find(nested, CODE).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes));
    named(number, find(nested, TARGET).map(text))
}

/// NF_DROP and NF_ACCEPT; the others are negative, as two's complement: NFT_CONTINUE -1, NFT_BREAK -2, NFT_JUMP -3,
/// NFT_GOTO -4, NFT_RETURN -5.
fn named(number: u32, chain: Option<String>) -> Code {
    match (i32::from_ne_bytes(number.to_ne_bytes()), chain) {
        (0, _) => Code::Drop,
        (1, _) => Code::Accept,
        (-1 | -2, _) => Code::Continue,
        (-3, Some(chain)) => Code::Jump(chain),
        (-4, Some(chain)) => Code::Goto(chain),
        (-5, _) => Code::Return,
        _ => Code::Other(number),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::kernel::nft;
    use crate::kernel::nft::testing::{desired, make};
    use crate::kernel::testing::done_in_a_sandbox;

    /// By datagram: tables, chains and rules as `iptables` names them, and what followed.
    fn story(events: &[Event], tables: &nft::Tables) -> Vec<Vec<String>> {
        let mut packets: Vec<Vec<String>> = Vec::new();
        for event in events {
            if event.begins() {
                packets.push(Vec::new());
            } else if let Some(handle) = event.handle {
                let found = tables.rule(Family::V4, &event.table, &event.chain, handle);
                let rule = found.map_or("none of ours".to_owned(), |(_, rule)| rule.to_string());
                let told = format!("{} {} {rule}: {:?}", event.table, event.chain, event.verdict);
                packets.last_mut().unwrap().push(told);
            }
        }
        packets
    }

    #[test]
    fn each_rule_that_matches_a_chosen_packet_is_told_and_no_other_packet_is() {
        if done_in_a_sandbox() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let netns = Netns::create(runtime.handle()).unwrap();
        let rules = "ip4 mangle -A OUTPUT -j own\n\
            ip4 mangle -A own -p udp -m udp --dport 53 -j MARK --set-xmark 0x7/0xffffffff\n\
            ip4 nat -A OUTPUT -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.1:5300\n\
            ip4 filter -A OUTPUT -p udp -m udp --dport 5301 -j DROP\n\
            ip4 filter -A INPUT -p udp -m udp --dport 5300 -j ACCEPT";
        make(netns.nf(), &desired(rules)).unwrap();
        let sign = |bytes: &[u8]| Sign { name: "request".to_owned(), protocol: 17, bytes: vec![(8, bytes.to_vec())] };
        let tracer = Tracer::begin(&netns, Family::V4, &[sign(b"one"), sign(b"two")]).unwrap();
        // What a machine sends to itself need not have come in when the call returns. That nobody listens is told once it has.
        // One socket for all: a process that another test starts may hold a closed one for a moment, and its port.
        let client = netns.run_in(|| UdpSocket::bind("127.0.0.1:4000").unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let send = |bytes: &[u8], to: &str| {
            client.connect(to).unwrap();
            client.send(bytes).and_then(|_| client.recv(&mut [0])).unwrap_err().kind()
        };
        assert_eq!(send(b"one", "127.0.0.1:53"), ErrorKind::ConnectionRefused);
        assert_eq!(send(b"another", "127.0.0.1:53"), ErrorKind::ConnectionRefused);
        assert_eq!(send(b"two", "127.0.0.1:5301"), ErrorKind::PermissionDenied);
        let events = tracer.end(&netns, Family::V4).unwrap();
        let mark = "-p udp -m udp --dport 53 -j MARK --set-xmark 0x7/0xffffffff";
        let translate = "-p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.1:5300";
        let tables = nft::read(netns.nf()).unwrap();
        let told = story(&events, &tables);
        // What is sent to this machine itself leaves and enters: its second way begins with the sign too.
        assert_eq!(
            told,
            [
                vec![
                    "mangle OUTPUT -j own: Jump(\"own\")".to_owned(),
                    format!("mangle own {mark}: Continue"),
                    format!("nat OUTPUT {translate}: Accept"),
                ],
                vec!["filter INPUT -p udp -m udp --dport 5300 -j ACCEPT: Accept".to_owned()],
                vec![
                    "mangle OUTPUT -j own: Jump(\"own\")".to_owned(),
                    "filter OUTPUT -p udp -m udp --dport 5301 -j DROP: Drop".to_owned(),
                ],
            ],
        );
        assert!(events.iter().any(|event| event.mark == 7));
        // Tracing is over, and what chose the packets is gone.
        let tracer = Tracer::begin(&netns, Family::V4, &[]).unwrap();
        assert_eq!(send(b"one", "127.0.0.1:53"), ErrorKind::ConnectionRefused);
        assert_eq!(tracer.end(&netns, Family::V4).unwrap(), []);
        assert!(tables.foreign.is_empty());
    }

    #[test]
    fn more_events_than_a_socket_holds_by_itself_are_all_told() {
        if done_in_a_sandbox() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let netns = Netns::create(runtime.handle()).unwrap();
        make(netns.nf(), &desired("ip4 filter -A OUTPUT -p udp -m udp --dport 5301 -j DROP")).unwrap();
        let sign = Sign { name: "request".to_owned(), protocol: 17, bytes: vec![(8, b"one".to_vec())] };
        let tracer = Tracer::begin(&netns, Family::V4, &[sign]).unwrap();
        let client = netns.run_in(|| UdpSocket::bind("127.0.0.1:4000").unwrap()).unwrap();
        for _ in 0..150 {
            assert_eq!(client.send_to(b"one", "127.0.0.1:5301").unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
        let events = tracer.end(&netns, Family::V4).unwrap();
        assert_eq!(events.iter().filter(|event| event.verdict == Code::Drop).count(), 150);
    }
}
