//! What netdev rules do to frames, seen by their counters on the loopback device.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

use netlink_bindings::nftables::{ExprListAttrs, ExprOps, RuleAttrs};
use netlink_sys::Socket;
use pnet::datalink;

use super::super::message::{GET_RULE, NETDEV};
use super::super::testing::{loopback_up, socket};
use super::super::{
    FrameAction, FrameMatch, NetdevChain, NetdevHook, NetdevRule, NftError, drop_input, read, remove_input,
    replace_netdev,
};
use crate::kernel::nfnetlink::{DUMP, ask};
use crate::kernel::testing::{done_in_a_sandbox, in_netns};
use crate::name::DeviceName;
use crate::net::{Mac, PortRange};

const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
const C: Mac = Mac([2, 0, 0, 0, 0, 0xc]);
const TARGET: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);

/// Packets counted by each rule of family netdev, in order.
fn counted(socket: &Socket) -> Vec<u64> {
    let mut counts = Vec::new();
    let consistent = ask(
        socket,
        (GET_RULE, DUMP),
        NETDEV,
        |_| {},
        |message| {
            let expressions = RuleAttrs::new(message.attributes).get_expressions().unwrap();
            counts.extend(expressions.filter_map(|element| {
                let ExprListAttrs::Elem(one) = element.unwrap();
                match one.get_data() {
                    Ok(ExprOps::Counter(counter)) => Some(counter.get_packets().unwrap()),
                    _ => None,
                }
            }));
            Ok(())
        },
    );
    assert!(consistent.unwrap());
    counts
}

fn chain(name: &str, hook: NetdevHook, rules: Vec<NetdevRule>) -> NetdevChain {
    NetdevChain { name: name.to_owned(), device: DeviceName::new("lo").unwrap(), hook, priority: -500, rules }
}

fn count(what: FrameMatch) -> NetdevRule {
    NetdevRule::does([FrameAction::Count]).when(what)
}

fn frame(destination: Mac, source: Mac, kind: u16, rest: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &kind.to_be_bytes(), rest].concat()
}

fn arp(destination: Mac, operation: u8, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let rest = [&head[..], &A.0, &from.octets(), &[0; 6], &to.octets()].concat();
    frame(destination, A, 0x0806, &rest)
}

/// An IPv4 datagram with ports.
fn ipv4(protocol: u8, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let head = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    frame(B, A, 0x0800, &[&head[..], &[0, 9, high, low, 0, 8, 0, 0]].concat())
}

/// A neighbour message for [`TARGET`].
fn icmpv6(kind: u8) -> Vec<u8> {
    let head = [0x60, 0, 0, 0, 0, 24, 58, 255];
    let source = Ipv6Addr::LOCALHOST.octets();
    let body = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &TARGET.octets()].concat();
    frame(B, A, 0x86dd, &[&head[..], &source, &source, &body].concat())
}

/// Sends frames and says which were dropped on the way out.
fn send(frames: &[Vec<u8>]) -> Vec<bool> {
    let lo = datalink::interfaces().into_iter().find(|device| device.name == "lo").unwrap();
    let Ok(datalink::Channel::Ethernet(mut to, _from)) = datalink::channel(&lo, datalink::Config::default()) else {
        panic!("a packet socket");
    };
    let dropped = |result: std::io::Result<()>| match result {
        Ok(()) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => true,
        Err(error) => panic!("{error}"),
    };
    frames.iter().map(|frame| dropped(to.send_to(frame, None).unwrap())).collect()
}

#[test]
fn every_match_finds_its_frames_and_no_others() {
    if done_in_a_sandbox() {
        return;
    }
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let other = Ipv4Addr::new(10, 0, 0, 9);
    let cases = [
        (FrameMatch::Source(A), 8),
        (FrameMatch::Source(C), 0),
        (FrameMatch::Destination(B), 7),
        (FrameMatch::Group, 1),
        (FrameMatch::EtherType(0x0806), 2),
        (FrameMatch::ArpOperation(1), 1),
        (FrameMatch::ArpSender(address), 1),
        (FrameMatch::ArpTarget(address), 1),
        (FrameMatch::DestinationNet("10.0.0.2/32".parse().unwrap()), 4),
        (FrameMatch::DestinationNet("10.0.0.0/30".parse().unwrap()), 4),
        (FrameMatch::DestinationNet("10.0.0.4/30".parse().unwrap()), 0),
        (FrameMatch::DestinationNet("::1/128".parse().unwrap()), 2),
        (FrameMatch::DestinationNet("::/96".parse().unwrap()), 2),
        (FrameMatch::Protocol(17), 3),
        (FrameMatch::DestinationPort(17, 53.into()), 1),
        (FrameMatch::DestinationPort(17, PortRange { first: 53, last: 60 }), 2),
        (FrameMatch::DestinationPort(6, 53.into()), 1),
        (FrameMatch::Icmpv6Type(134), 1),
        (FrameMatch::NeighbourTarget(TARGET), 2),
    ];
    in_netns(|| {
        loopback_up();
        let socket = socket();
        let rules = cases.iter().map(|(what, _)| count(what.clone())).collect();
        replace_netdev(&socket, "dvrlab-test", &[chain("in", NetdevHook::Ingress, rules)]).unwrap();
        let dropped = send(&[
            arp(Mac::BROADCAST, 1, address, other),
            arp(B, 2, other, address),
            ipv4(17, 53),
            ipv4(17, 60),
            ipv4(17, 61),
            ipv4(6, 53),
            icmpv6(134),
            icmpv6(135),
        ]);
        assert_eq!(dropped, [false; 8]);
        let found: Vec<_> = cases.iter().map(|(what, _)| what.clone()).zip(counted(&socket)).collect();
        assert_eq!(found, cases);
        assert!(read(&socket).unwrap().foreign.is_empty());
    });
}

#[test]
fn what_is_hidden_from_a_stack_is_no_rule_of_the_routers() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        loopback_up();
        let socket = socket();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let to = receiver.local_addr().unwrap();
        let comes = || {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            assert_eq!(sender.send_to(b"x", to).unwrap(), 1);
            receiver.recv(&mut [0; 8]).is_ok()
        };
        assert!(comes());
        drop_input(&socket, &[FrameMatch::DestinationPort(17, to.port().into())]).unwrap();
        assert!(!comes());
        assert!(read(&socket).unwrap().foreign.is_empty());
        remove_input(&socket).unwrap();
        assert!(comes());
        assert!(matches!(remove_input(&socket), Err(NftError::Refused { .. })));
    });
}

#[test]
fn actions_change_and_end() {
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        loopback_up();
        let socket = socket();
        let out = vec![
            NetdevRule::does([FrameAction::SetSource(C), FrameAction::SetDestination(A)]).when(FrameMatch::Source(A)),
            NetdevRule::does([FrameAction::Drop]).when(FrameMatch::DestinationPort(17, 53.into())),
            NetdevRule::does([FrameAction::Count, FrameAction::Accept])
                .when(FrameMatch::DestinationPort(17, 60.into())),
            NetdevRule::does([FrameAction::Count]),
        ];
        let seen = vec![count(FrameMatch::Source(C)), count(FrameMatch::Destination(A)), count(FrameMatch::Source(A))];
        let chains = [chain("out", NetdevHook::Egress, out), chain("in", NetdevHook::Ingress, seen)];
        replace_netdev(&socket, "dvrlab-test", &chains).unwrap();
        assert_eq!(send(&[ipv4(17, 53), ipv4(17, 60), ipv4(17, 61)]), [true, false, false]);
        assert_eq!(counted(&socket), [1, 1, 2, 2, 0]);
        // Replaced, and removed.
        replace_netdev(&socket, "dvrlab-test", &[chain("in", NetdevHook::Ingress, vec![count(FrameMatch::Group)])])
            .unwrap();
        assert_eq!(counted(&socket), [0]);
        let missing = NetdevChain { priority: i32::MIN, ..chain("in", NetdevHook::Ingress, vec![]) };
        let twice = [missing.clone(), NetdevChain { hook: NetdevHook::Egress, ..missing }];
        let error = replace_netdev(&socket, "dvrlab-test", &twice).unwrap_err();
        assert!(matches!(&error, NftError::Refused(_)), "{error}");
        assert!(error.to_string().starts_with("do `add chain in`: "), "{error}");
        assert_eq!(counted(&socket), [0], "what is refused changes nothing");
        replace_netdev(&socket, "dvrlab-test", &[]).unwrap();
        assert_eq!(counted(&socket), [0; 0]);
    });
}

#[test]
fn a_dropped_port_does_not_answer() {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    if done_in_a_sandbox() {
        return;
    }
    in_netns(|| {
        loopback_up();
        let closed =
            || TcpStream::connect_timeout(&([127, 0, 0, 1], 40_001).into(), std::time::Duration::from_millis(100));
        assert_eq!(closed().unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let ports = PortRange { first: 40_000, last: 40_010 };
        let drop = |protocol| {
            NetdevRule::does([FrameAction::Count, FrameAction::Drop]).when(FrameMatch::DestinationPort(protocol, ports))
        };
        let socket = socket();
        let chain = chain("in", NetdevHook::Ingress, vec![drop(6), drop(17)]);
        replace_netdev(&socket, "dvrlab-ports", &[chain]).unwrap();
        assert_eq!(closed().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(counted(&socket), [1, 0]);
    });
}
