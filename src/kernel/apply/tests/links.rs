//! Devices.

use std::net::UdpSocket;
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage};

use super::*;
use crate::kernel::apply::link;
use crate::kernel::request::dump;

#[test]
fn a_device_on_a_network_reaches_the_others_there() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    let qr = device("qr-red");
    for (namespace, host) in [("qrouter-a", 1), ("qrouter-b", 2)] {
        lab.apply(namespace, Action::NamespaceAdd);
        let link = on_network("red", Mac([2, 0, 0, 0, 0, host]));
        lab.apply(namespace, link_add(&qr, link.clone()));
        let net = format!("10.0.1.{host}/24").parse().unwrap();
        lab.apply(namespace, Action::AddressAdd(Address::new(qr.clone(), net)));
        let state = lab.state(namespace);
        assert_eq!(state.links, [(qr.clone(), link)].into());
        assert_eq!(state.addresses, [Address::new(qr.clone(), net)].into());
    }
    let [a, b] = ["qrouter-a", "qrouter-b"].map(|namespace| lab.netns(namespace));
    for netns in [&a, &b] {
        let ready = link::ready(&lab, &lab.host, netns, &qr);
        lab.runtime.block_on(ready).unwrap();
    }
    let receiver = b.run_in(|| UdpSocket::bind("10.0.1.2:7").unwrap()).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    a.run_in(|| UdpSocket::bind("10.0.1.1:0").unwrap().send_to(b"hello", "10.0.1.2:7").unwrap()).unwrap();
    let mut bytes = [0; 5];
    receiver.recv(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");

    lab.apply("qrouter-a", Action::LinkDelete(qr.clone()));
    assert_eq!(lab.state("qrouter-a"), empty());
    lab.apply("qrouter-a", Action::LinkDelete(qr.clone()));
    lab.apply("qrouter-a", Action::AddressDelete(Address::new(qr, "10.0.1.1/24".parse().unwrap())));
}

/// The network's MTU grows: frames as large as the new one pass.
#[test]
fn a_device_that_gets_a_larger_mtu_is_reached_by_larger_frames() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    let qr = device("qr-red");
    for (namespace, host) in [("qrouter-a", 1), ("qrouter-b", 2)] {
        lab.apply(namespace, Action::NamespaceAdd);
        lab.apply(namespace, link_add(&qr, on_network("red", Mac([2, 0, 0, 0, 0, host]))));
        let net = format!("10.0.1.{host}/24").parse().unwrap();
        lab.apply(namespace, Action::AddressAdd(Address::new(qr.clone(), net)));
        lab.apply(namespace, Action::LinkMtu(qr.clone(), 9000));
    }
    let [a, b] = ["qrouter-a", "qrouter-b"].map(|namespace| lab.netns(namespace));
    for netns in [&a, &b] {
        lab.runtime.block_on(link::ready(&lab, &lab.host, netns, &qr)).unwrap();
    }
    let receiver = b.run_in(|| UdpSocket::bind("10.0.1.2:7").unwrap()).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let large = [7; 8000];
    a.run_in(|| UdpSocket::bind("10.0.1.1:0").unwrap().send_to(&large, "10.0.1.2:7").unwrap()).unwrap();
    assert_eq!(receiver.recv(&mut [0; 9000]).unwrap(), large.len());
}

#[test]
fn a_network_without_a_bridge_takes_no_device() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.apply("qrouter-r1", Action::NamespaceAdd);
    let green = link_add(&device("qr-green"), on_network("green", Mac([2, 0, 0, 0, 0, 1])));
    assert_eq!(lab.try_apply("qrouter-r1", green).unwrap_err(), "no bridge of network green on this host");
    let mut link = on_network("red", Mac([2, 0, 0, 0, 0, 1]));
    lab.apply("qrouter-r1", link_add(&device("qr-red"), link.clone()));
    let twice = lab.try_apply("qrouter-r1", link_add(&device("qr-red"), link.clone())).unwrap_err();
    assert_eq!(twice, "EEXIST: File exists");
    link.attach = Attach::Foreign;
    assert_eq!(lab.try_apply("qrouter-r1", link_add(&device("x"), link)).unwrap_err(), "device x has no other end");
}

fn pair(lab: &TestLab) {
    for namespace in ["qrouter-r1", "fip-public"] {
        lab.apply(namespace, Action::NamespaceAdd);
    }
    let attach = peer("fip-public", "fpr-r1");
    let link = Link { mac: Mac([2, 0, 0, 0, 1, 1]), mtu: 1450, up: true, attach, odd: String::new() };
    let other = Some((Mac([2, 0, 0, 0, 1, 2]), 1400));
    lab.apply("qrouter-r1", Action::LinkAdd { device: device("rfp-r1"), link, peer: other });
}

fn peer(namespace: &str, name: &str) -> Attach {
    Attach::Peer { namespace: NamespaceName::new(namespace).unwrap(), device: device(name) }
}

#[test]
fn a_pair_shows_on_both_sides_and_goes_with_either() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    pair(&lab);
    let far = Link {
        mac: Mac([2, 0, 0, 0, 1, 2]),
        mtu: 1400,
        up: true,
        attach: peer("qrouter-r1", "rfp-r1"),
        odd: String::new(),
    };
    assert_eq!(lab.state("fip-public").links, [(device("fpr-r1"), far)].into());
    let near = Link {
        mac: Mac([2, 0, 0, 0, 1, 1]),
        mtu: 1450,
        up: true,
        attach: peer("fip-public", "fpr-r1"),
        odd: String::new(),
    };
    assert_eq!(lab.state("qrouter-r1").links, [(device("rfp-r1"), near)].into());
    lab.apply("fip-public", Action::LinkDelete(device("fpr-r1")));
    assert_eq!(lab.state("fip-public"), empty());
    assert_eq!(lab.state("qrouter-r1"), empty());
}

#[test]
fn a_namespace_takes_its_pairs_along_at_once() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    pair(&lab);
    lab.apply("qrouter-r1", Action::NamespaceDelete);
    assert_eq!(lab.state("fip-public"), empty());
    // The names are free again, although the kernel may still be reaping.
    lab.apply("fip-public", Action::NamespaceDelete);
    pair(&lab);
}

#[test]
fn a_device_changes_in_place() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("qrouter-r1");
    let qr = device("qr-red");
    let before = lab.state("qrouter-r1");
    lab.runtime.block_on(link::ready(&lab, &lab.host, &lab.netns("qrouter-r1"), &qr)).unwrap();
    lab.apply("qrouter-r1", Action::LinkMtu(qr.clone(), 1342));
    lab.apply("qrouter-r1", Action::LinkMac(qr.clone(), Mac([2, 0, 0, 0, 0, 9])));
    let mut expected = before.clone();
    expected.links.get_mut(&qr).unwrap().mtu = 1342;
    expected.links.get_mut(&qr).unwrap().mac = Mac([2, 0, 0, 0, 0, 9]);
    assert_eq!(lab.state("qrouter-r1"), expected, "addresses stay, and the link-local one follows the MAC");
    lab.apply("qrouter-r1", Action::LinkUp(qr.clone(), false));
    expected.links.get_mut(&qr).unwrap().up = false;
    // The kernel forgets the IPv6 addresses of a device that goes down.
    expected.addresses.remove(&Address::new(qr, "fd00:1::1/64".parse().unwrap()));
    assert_eq!(lab.state("qrouter-r1"), expected);
}

#[test]
fn addresses_have_the_broadcast_address_that_the_agent_sets() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    lab.router("snat-r1");
    let qr = device("qr-red");
    for net in ["203.0.113.9/32", "169.254.64.0/31", "10.9.0.1/16", "fe80::1/64"] {
        lab.apply("snat-r1", Action::AddressAdd(Address::new(qr.clone(), net.parse().unwrap())));
    }
    let netns = lab.netns("snat-r1");
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let answers = lab.runtime.block_on(dump(netns.handle(), request)).unwrap();
    let mut broadcasts = BTreeMap::new();
    for answer in answers {
        if let RouteNetlinkMessage::NewAddress(message) = answer {
            let find = |pick: fn(&AddressAttribute) -> Option<String>| message.attributes.iter().find_map(pick);
            let own = find(|a| if let AddressAttribute::Local(ip) = a { Some(ip.to_string()) } else { None });
            let last = find(|a| if let AddressAttribute::Broadcast(ip) = a { Some(ip.to_string()) } else { None });
            broadcasts.extend(own.map(|own| (own, last)));
        }
    }
    for (own, last) in [
        ("203.0.113.9", Some("203.0.113.9")),
        ("169.254.64.0", None),
        ("10.9.0.1", Some("10.9.255.255")),
        ("10.0.1.1", Some("10.0.1.255")),
    ] {
        assert_eq!(broadcasts[own].as_deref(), last, "{own}");
    }
    let addresses = lab.state("snat-r1").addresses;
    let foreign = Address::new(qr.clone(), "fe80::1/64".parse().unwrap());
    assert!(addresses.contains(&foreign), "only the link-local address made of the MAC is the kernel's own");
    let twice = lab.try_apply("snat-r1", Action::AddressAdd(foreign)).unwrap_err();
    assert!(twice.starts_with("EEXIST: "), "{twice}");
}

#[test]
fn announcements_are_heard() {
    if done_in_a_sandbox() {
        return;
    }
    let lab = TestLab::new();
    let qr = device("qr-red");
    for (namespace, last) in [("fip-public", 1), ("qrouter-r1", 2)] {
        lab.apply(namespace, Action::NamespaceAdd);
        lab.apply(namespace, link_add(&qr, on_network("red", Mac([2, 0, 0, 0, 0, last]))));
        let net = format!("10.0.1.{last}/24").parse().unwrap();
        lab.apply(namespace, Action::AddressAdd(Address::new(qr.clone(), net)));
        lab.runtime.block_on(link::ready(&lab, &lab.host, &lab.netns(namespace), &qr)).unwrap();
    }
    for key in [
        "net.ipv4.conf.qr-red.arp_accept",
        "net.ipv6.conf.qr-red.forwarding",
        "net.ipv6.conf.qr-red.accept_untracked_na",
    ] {
        lab.netns("qrouter-r1").sysctl_set(key, "1").unwrap();
    }
    for address in ["10.0.1.77", "fd00:1::77"] {
        lab.apply("fip-public", Action::Announce(qr.clone(), address.parse().unwrap()));
    }
    let netns = lab.netns("qrouter-r1");
    let heard = async || {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let answers = dump(netns.handle(), request).await.unwrap();
        let from_there = |answer: &RouteNetlinkMessage| {
            let mac = NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 1]);
            matches!(answer, RouteNetlinkMessage::NewNeighbour(entry) if entry.attributes.contains(&mac))
        };
        answers.iter().filter(|answer| from_there(answer)).count()
    };
    // On a busy machine the kernel may put off what it has received.
    let both = async {
        while heard().await != 2 {
            tokio::task::yield_now().await;
        }
    };
    let both = async { tokio::time::timeout(Duration::from_secs(5), both).await };
    lab.runtime.block_on(both).expect("both announcements are heard");
    let reason = lab.try_apply("fip-public", Action::Announce(device("fg-none"), "10.0.1.77".parse().unwrap()));
    assert_eq!(reason.unwrap_err(), "ENODEV: No such device");
}
