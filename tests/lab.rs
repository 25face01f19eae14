//! The lab carries packets between its machines, and does with them what a distributed router's layer 2 does.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

mod inside;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::time::Duration;

use dvrlab::dataplane::Dataplane as _;
use dvrlab::flow::Place;
use dvrlab::kernel::{Netns, command};
use dvrlab::lab::Lab;
use dvrlab::name::{HostName, Id, Name, NamespaceName};
use dvrlab::net::Mac;
use dvrlab::topology::{HostTopology, NetworkTopology, NodeAttach, NodePort, NodeTopology, Topology};
use inside::inside;
use socket2::{Domain, Protocol, Socket, Type};

const LIMIT: Duration = Duration::from_secs(2);

fn host(n: u8) -> HostName {
    HostName::new(format!("h{n}")).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn mac(name: &str) -> Mac {
    Mac::derived("test", name)
}

fn gateway() -> Mac {
    mac("gateway")
}

fn node(attach: NodeAttach, mac: Mac, address: &str) -> NodeTopology {
    NodeTopology {
        ports: vec![NodePort {
            attach,
            mac,
            mtu: 1450,
            addresses: vec![address.parse().unwrap()],
            up: true,
            on_link: vec![],
        }],
        forwards: false,
        answers: true,
        routes: Vec::new(),
        also: Vec::new(),
        closed: BTreeSet::new(),
        listen: BTreeSet::new(),
    }
}

fn tenant(host: HostName) -> NodeAttach {
    NodeAttach::Tenant(host, id("red"))
}

/// Two hosts, network `red`, `vm1` on `h1` and `vm2` on the host with this number.
fn two_hosts(vm2_on: u8) -> Topology {
    let at = |n: u8| [("vm1", 1), ("vm2", vm2_on)].into_iter().filter(move |(_, host)| *host == n);
    let hosts = [1, 2].map(|n| {
        let other = 3 - n;
        let network = NetworkTopology {
            vni: 7,
            mtu: 1450,
            router_ports: BTreeMap::from([(gateway(), BTreeSet::from([IpAddr::from([10, 0, 1, 1])]))]),
            local_ports: at(n).map(|(vm, _)| (mac(vm), Some(gateway()))).collect(),
            remote_ports: at(other).map(|(vm, _)| (mac(vm), host(other))).collect(),
            peers: BTreeSet::from([host(other)]),
        };
        let host_topology = HostTopology {
            underlay: [192, 0, 2, n].into(),
            mtu: 1600,
            dvr_mac: Mac::dvr(host(n).as_str()),
            networks: BTreeMap::from([(id("red"), network)]),
        };
        (host(n), host_topology)
    });
    Topology {
        hosts: BTreeMap::from(hosts),
        segments: BTreeMap::new(),
        nodes: BTreeMap::from([
            (name("vm1"), node(tenant(host(1)), mac("vm1"), "10.0.1.11/24")),
            (name("vm2"), node(tenant(host(vm2_on)), mac("vm2"), "10.0.1.12/24")),
        ]),
        ..Topology::default()
    }
}

fn netns(lab: &Lab, node: &str) -> Rc<Netns> {
    let place = Place { host: None, name: node.to_owned() };
    lab.places().into_iter().find(|(other, _)| *other == place).expect("the node is there").1
}

/// A socket of a node's kernel.
fn socket(lab: &Lab, node: &str, address: &str) -> UdpSocket {
    let socket = netns(lab, node).run_in(|| UdpSocket::bind(address).unwrap()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// A datagram there and one back, between the kernels of two nodes.
fn talk(lab: &Lab, from: &str, to: &str, address: &str) {
    let server = socket(lab, to, &format!("{address}:5000"));
    let client = socket(lab, from, &format!("{}:0", if address.contains(':') { "[::]" } else { "0.0.0.0" }));
    client.send_to(b"there", format!("{address}:5000")).unwrap();
    let mut bytes = [0; 10];
    let (length, source) = server.recv_from(&mut bytes).expect("the datagram arrives");
    assert_eq!(&bytes[..length], b"there");
    server.send_to(b"back", source).unwrap();
    assert_eq!(client.recv(&mut bytes).expect("the answer arrives"), 4);
}

#[test]
fn instances_of_two_hosts_talk_and_go_on_after_a_migration() {
    inside(|| {
        let lab = Lab::new().unwrap();
        lab.shape(&two_hosts(2)).unwrap();
        talk(&lab, "vm1", "vm2", "10.0.1.12");
        let before = netns(&lab, "vm1").inode();
        lab.shape(&two_hosts(1)).unwrap();
        talk(&lab, "vm1", "vm2", "10.0.1.12");
        talk(&lab, "vm2", "vm1", "10.0.1.11");
        lab.shape(&two_hosts(2)).unwrap();
        talk(&lab, "vm2", "vm1", "10.0.1.11");
        assert_eq!(netns(&lab, "vm1").inode(), before);
        lab.shape(&Topology::default()).unwrap();
        assert!(lab.places().is_empty());
        lab.shape(&two_hosts(2)).unwrap();
        talk(&lab, "vm1", "vm2", "10.0.1.12");
    });
}

#[test]
fn segments_and_cables_carry_packets_and_machines_route() {
    inside(|| {
        let lab = Lab::new().unwrap();
        let segment = |node: &str, address: &str| self::node(NodeAttach::Segment(id("public")), mac(node), address);
        let mut router = segment("router", "203.0.113.1/24");
        (router.forwards, router.answers) = (true, false);
        router.ports.push(NodePort {
            attach: NodeAttach::Node(name("far"), 0),
            mac: mac("router-1"),
            mtu: 1500,
            addresses: vec!["198.51.100.1/30".parse().unwrap()],
            up: true,
            on_link: vec![],
        });
        let mut far = node(NodeAttach::Node(name("router"), 1), mac("far"), "198.51.100.2/30");
        far.routes = vec![("0.0.0.0/0".parse().unwrap(), [198, 51, 100, 1].into())];
        far.also = vec!["198.51.100.80/32".parse().unwrap(), "100.64.0.0/16".parse().unwrap()];
        router.routes = far.also.iter().map(|net| (*net, [198, 51, 100, 2].into())).collect();
        let mut web = segment("web", "203.0.113.10/24");
        web.routes = vec![("0.0.0.0/0".parse().unwrap(), [203, 0, 113, 1].into())];
        web.ports[0].addresses.push("2001:db8::10/64".parse().unwrap());
        router.ports[0].addresses.push("2001:db8::1/64".parse().unwrap());
        let topology = Topology {
            hosts: BTreeMap::new(),
            segments: BTreeMap::from([(id("public"), 1500)]),
            nodes: BTreeMap::from([(name("router"), router), (name("far"), far), (name("web"), web)]),
            ..Topology::default()
        };
        lab.shape(&topology).unwrap();
        talk(&lab, "web", "router", "203.0.113.1");
        talk(&lab, "web", "router", "[2001:db8::1]");
        talk(&lab, "web", "far", "198.51.100.2");
        talk(&lab, "web", "far", "198.51.100.80");
        talk(&lab, "web", "far", "100.64.7.7");
        // Whatever is made anew on the way takes its routes with it.
        let mut moved = topology.clone();
        moved.nodes.get_mut(&name("router")).unwrap().ports[1].mac = mac("another");
        lab.shape(&moved).unwrap();
        talk(&lab, "web", "far", "100.64.7.7");
    });
}

/// Frames of a namespace's devices, the oldest first, until one fits.
fn frame_that(socket: &Socket, mut fits: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut socket = socket;
    let mut bytes = [0; 2000];
    loop {
        let length = socket.read(&mut bytes).expect("the frame comes");
        if fits(&bytes[..length]) {
            return bytes[..length].to_vec();
        }
    }
}

/// Where the inner frame begins in a VXLAN frame: after Ethernet, IPv4, UDP and VXLAN headers.
const INNER: usize = 14 + 20 + 8 + 8;
/// An EtherType that no stack answers (IEEE 802, local experimental).
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

fn send_frame(netns: &Netns, frame: &[u8]) {
    let sent = netns.run_in(|| {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).unwrap();
        let devices = nix::ifaddrs::getifaddrs().unwrap();
        let eth0 = devices
            .filter(|device| device.interface_name == "eth0")
            .find_map(|device| device.address?.as_link_addr().copied());
        nix::sys::socket::sendto(socket.as_raw_fd(), frame, &eth0.unwrap(), nix::sys::socket::MsgFlags::empty())
            .unwrap()
    });
    assert_eq!(sent.unwrap(), frame.len());
}

/// A packet socket that sees every frame of a namespace.
fn tap(netns: &Netns) -> Socket {
    let every_protocol = Protocol::from(i32::from(0x0003_u16.to_be()));
    let socket = netns.run_in(|| Socket::new(Domain::PACKET, Type::RAW, Some(every_protocol)).unwrap()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

#[test]
fn a_gateway_of_both_hosts_answers_at_home_and_its_mac_stays_there() {
    inside(|| {
        let lab = Lab::new().unwrap();
        let mut topology = two_hosts(2);
        for n in [1, 2] {
            let replica = node(tenant(host(n)), gateway(), "10.0.1.1/24");
            topology.nodes.insert(name(&format!("router{n}")), replica);
        }
        lab.shape(&topology).unwrap();
        let (vm1, vm2) = (tap(&netns(&lab, "vm1")), tap(&netns(&lab, "vm2")));
        let wire = tap(&lab.host(&host(2)).unwrap());

        // The question of vm1 goes to its own host's router alone, and one answer comes.
        socket(&lab, "vm1", "0.0.0.0:0").send_to(b"hello", "10.0.1.1:5000").unwrap();
        let arp_reply = |frame: &[u8]| frame[12..14] == [0x08, 0x06] && frame[21] == 2;
        assert_eq!(frame_that(&vm1, arp_reply)[6..12], gateway().0);
        socket(&lab, "vm1", "0.0.0.0:0").send_to(b"marker", "10.0.1.12:5000").unwrap();
        let from_vm1 = |frame: &[u8]| frame[6..12] == mac("vm1").0 && frame.ends_with(b"marker");
        let mut questions = 0;
        frame_that(&vm2, |frame| {
            questions += usize::from(frame[12..14] == [0x08, 0x06] && frame[38..42] == [10, 0, 1, 1]);
            from_vm1(frame)
        });
        assert_eq!(questions, 0, "who asks for the gateway is not heard on another host");

        // What the router of host 1 sends to vm2 has the host's MAC on the wire and the gateway's at its end.
        let frame = [&mac("vm2").0[..], &gateway().0, &EXPERIMENTAL, b"routed"].concat();
        send_frame(&netns(&lab, "router1"), &frame);
        let routed = |frame: &[u8]| frame.ends_with(b"routed");
        assert_eq!(frame_that(&wire, routed)[INNER + 6..INNER + 12], Mac::dvr("h1").0);
        assert_eq!(frame_that(&vm2, routed)[6..12], gateway().0);

        // A broadcast of it stays out of the other host.
        let frame = [&Mac::BROADCAST.0[..], &gateway().0, &EXPERIMENTAL, b"broadcast"].concat();
        send_frame(&netns(&lab, "router1"), &frame);
        assert!(frame_that(&wire, |frame| frame.ends_with(b"broadcast")).len() > INNER);
        send_frame(&netns(&lab, "vm1"), &[&Mac::BROADCAST.0[..], &mac("vm1").0, &EXPERIMENTAL, b"end"].concat());
        frame_that(&vm2, |frame| {
            assert!(!frame.ends_with(b"broadcast"));
            frame.ends_with(b"end")
        });
    });
}

#[test]
fn ports_of_probes_are_hidden_and_closed_ones_refuse() {
    inside(|| {
        let lab = Lab::new().unwrap();
        let mut topology = two_hosts(2);
        topology.nodes.get_mut(&name("vm2")).unwrap().closed = BTreeSet::from([(6, 80)]);
        lab.shape(&topology).unwrap();
        let ask = |port: u16, patience: Duration| {
            let client = socket(&lab, "vm1", "0.0.0.0:0");
            client.connect(("10.0.1.12", port)).unwrap();
            client.set_read_timeout(Some(patience)).unwrap();
            client.send(b"x").unwrap();
            client.recv(&mut [0; 1]).unwrap_err().kind()
        };
        // Silence shows at once; a refusal may take its time.
        let soon = Duration::from_millis(50);
        assert_eq!(ask(5001, LIMIT), ErrorKind::ConnectionRefused);
        assert_eq!(ask(9000, soon), ErrorKind::WouldBlock);
        assert_eq!(ask(20_000, soon), ErrorKind::WouldBlock);
        let connect = netns(&lab, "vm1").run_in(|| TcpStream::connect(("10.0.1.12", 80)).unwrap_err().kind()).unwrap();
        assert_eq!(connect, ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_program_runs_in_a_namespace_and_finds_the_names_of_its_host() {
    inside(|| {
        let lab = Lab::new().unwrap();
        lab.shape(&two_hosts(2)).unwrap();
        let names = BTreeMap::from([(NamespaceName::new("qrouter-r1").unwrap(), netns(&lab, "vm2"))]);
        // Found without the caller's PATH, which may be empty.
        let script = "PATH=/usr/bin:/bin; ls /run/netns; stat -L -c %i /run/netns/qrouter-r1 /proc/self/ns/net; setsid sleep 1000 & exit 3";
        let arguments = ["-c".to_owned(), script.to_owned()];
        let finished = command::run(&netns(&lab, "vm1"), &names, "/bin/sh", &arguments).unwrap();
        let (vm1, vm2) = (netns(&lab, "vm1").inode(), netns(&lab, "vm2").inode());
        assert_eq!(finished.output, format!("qrouter-r1\n{vm2}\n{vm1}\n"));
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(std::fs::read_dir("/run/netns").unwrap().count(), 0);
        assert!(command::run(&netns(&lab, "vm1"), &names, "/nonexistent", &[]).is_err());
    });
}
