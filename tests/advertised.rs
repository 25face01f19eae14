//! An IPv6 gateway that nobody told the router of: a router advertisement on the external network is believed where the
//! network's subnet has no gateway, what the kernel made of it stays, and traffic goes by it until it is taken back.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]

#[expect(dead_code, reason = "shared with tests that look at single operations")]
mod built;
mod inside;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use built::Built;
use dvrlab::flow::Place;
use dvrlab::name::{HostName, Name};
use dvrlab::namespace::RouteProtocol;
use dvrlab::net::Mac;
use dvrlab::probe::craft::{Content, Crafted, summary};
use dvrlab::router::topology;
use dvrlab::scenario::parse;
use inside::inside;

/// How often is looked for what comes for sure, and how long each look waits at most.
const LOOKS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);
/// Seconds for which an advertisement is good.
const LIFETIME: u16 = 1800;

const NETWORK: &str = "
# A router that learns its IPv6 gateway.
hosts:
  net1: { mode: dvr_snat }
  cmp1: { mode: dvr }
networks:
  public: { external: true }
  red:    {}
subnets:
  public6: { network: public, cidr: 2001:db8:f::/64, gateway: none }
  red6:    { network: red, cidr: 2001:db8:1::/64, ipv6_mode: dhcpv6-stateful }
routers:
  r1: { interfaces: [red6], gateway: { network: public, address: 2001:db8:f::10 } }
instances:
  vm1: { host: cmp1, network: red, address: 2001:db8:1::11 }
outside:
  peer: { on: public, address: 2001:db8:f::20 }
steps:
  - restart_agent: { host: net1 }
";

/// A frame with a router advertisement of a default route, and of the subnet's prefix for everybody to make an address of.
fn advertisement(router: Mac, lifetime: u16) -> Vec<u8> {
    let source = router.link_local();
    let destination: Ipv6Addr = "ff02::1".parse().unwrap();
    let prefix: Ipv6Addr = "2001:db8:f::".parse().unwrap();
    let (valid, preferred) = (3600_u32.to_be_bytes(), 3600_u32.to_be_bytes());
    let mut said = [&[134, 0, 0, 0, 64, 0][..], &lifetime.to_be_bytes(), &[0; 8], &[1, 1], &router.0].concat();
    said.extend([&[3, 4, 64, 0xc0][..], &valid, &preferred, &[0; 4], &prefix.octets()].concat());
    let length = u16::try_from(said.len()).unwrap();
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, 58]].concat();
    let words = pseudo.chunks(2).chain(said.chunks(2)).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    said[2..4].copy_from_slice(&checksum.to_be_bytes());
    let header =
        [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[58, 255], &source.octets(), &destination.octets()].concat();
    [&[0x33, 0x33, 0, 0, 0, 1][..], &router.0, &[0x86, 0xdd], &header, &said].concat()
}

struct Stage {
    built: Built,
    net1: HostName,
    peer: Mac,
}

impl Stage {
    fn emit(&self, node: &str, frame: &[u8]) {
        let place = Place { host: None, name: node.to_owned() };
        self.built.lab.emit(&place, &"eth0".parse().unwrap(), frame).unwrap();
    }

    /// Whether the SNAT namespace has a default route by the advertiser, and an address made of the prefix.
    fn learned(&self) -> (bool, bool) {
        self.built.lab.seen(&mut |_, _| {}).unwrap();
        let (observed, _) = self.built.states(&self.net1);
        let state = &observed.namespaces["snat-r1"];
        let by_peer = IpAddr::from(self.peer.link_local());
        let route = state.routes.iter().any(|route| {
            let by = route.next_hops.iter().any(|hop| hop.via == Some(by_peer));
            route.protocol == RouteProtocol::Ra && route.destination.prefix_len() == 0 && by
        });
        (route, state.addresses.iter().any(|address| address.odd.contains("dynamic")))
    }

    fn waits_until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS {
            if holds(self) {
                return;
            }
            self.built.lab.wait(PAUSE).unwrap();
        }
        panic!("{what}: {:?}", self.learned());
    }

    fn peer_saw(&self, text: &str) -> bool {
        let mut found = false;
        let mut see = |place: &Place, frame: dvrlab::probe::Frame<'_>| {
            found |= place.to_string() == "peer" && summary(frame.bytes).is_some_and(|line| line.contains(text));
        };
        self.built.lab.seen(&mut see).unwrap();
        found
    }

    fn nothing_to_do(&self) {
        let plan = self.built.plan(&self.net1);
        assert!(plan.ops.is_empty(), "{:?}", plan.ops);
    }
}

#[test]
fn a_gateway_that_is_advertised_is_used_and_left_alone() {
    inside(|| {
        let intent = parse("advertised.yaml", NETWORK).unwrap_or_else(|notes| panic!("{notes:?}")).intent;
        let peer = topology(&intent).nodes[&Name::new("peer").unwrap()].ports[0].mac;
        let stage = Stage { built: Built::new(&intent), net1: HostName::new("net1").unwrap(), peer };
        assert_eq!(stage.learned(), (false, false));
        stage.nothing_to_do();

        stage.emit("peer", &advertisement(peer, LIFETIME));
        stage.waits_until("the advertisement is believed", |stage| stage.learned() == (true, true));
        stage.nothing_to_do();
        stage.built.reconcile(&stage.net1).unwrap();
        assert_eq!(stage.learned(), (true, true));

        let router = &intent.routers[&Name::new("r1").unwrap()];
        let gateway = intent.router_ports(router).next().expect("the router has an interface").mac;
        let macs = (intent.ports[&Name::new("vm1").unwrap()].mac, gateway);
        let addresses = ("2001:db8:1::11".parse().unwrap(), "2001:db8:e::2".parse().unwrap());
        let content = Content::Udp((7000, 9000), b"crafted".to_vec());
        let packet = Crafted { macs, addresses, ttl: 64, dont_fragment: true, content };
        stage.emit("vm1", &packet.frame().unwrap());
        stage.waits_until("it leaves by the advertiser", |stage| stage.peer_saw("2001:db8:e::2"));

        stage.emit("peer", &advertisement(peer, 0));
        stage.waits_until("the advertiser takes it back", |stage| !stage.learned().0);
        stage.nothing_to_do();
    });
}
