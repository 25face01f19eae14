//! One namespace that stays or comes: addresses, policy rules, routes and neighbours.
//!
//! What the kernel drops along with a device, or with a device's last IPv4 address, is not removed by name, and is set again
//! if it is desired.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::fence;
use super::links::Kept;
use super::op::Action;
use super::order::{Phase, Steps};
use crate::name::{DeviceName, NamespaceName};
use crate::namespace::{Address, Attach, Lost, NamespaceState, PolicyRule, Route, sysctl};
use crate::net::{FIP_TABLE, Family, IpNet, Ipv6Net, Mac, TABLE_MAIN, family_of};

/// The device that every namespace is born with, and with it an address that is part of no state.
const LOOPBACK: &str = "lo";

/// A namespace and both its states.
pub(super) struct Diff<'a> {
    /// Its name.
    pub(super) name: &'a NamespaceName,
    /// As observed; as it is born if it has to be made.
    pub(super) observed: &'a NamespaceState,
    /// As desired.
    pub(super) desired: &'a NamespaceState,
    /// It has to be made.
    pub(super) new: bool,
    /// Connections of floating IPs are forgotten here.
    pub(super) forgets: bool,
    /// Devices that stay.
    pub(super) kept: &'a Kept<'a>,
    /// Fixed addresses here whose floating IPs change: their rules are taken back and given anew.
    pub(super) fixed: &'a BTreeSet<IpAddr>,
    /// Floating addresses that change anywhere on the host: their routes are taken back and given anew.
    pub(super) floating: &'a BTreeSet<IpAddr>,
    /// What has to be fenced off from the beginning.
    pub(super) fences: &'a [PolicyRule],
}

impl Diff<'_> {
    /// Every operation but those on devices, sysctls and tables.
    pub(super) fn plan(&self, steps: &mut Steps) {
        self.rules(steps);
        self.lost(steps);
        self.routes(steps);
        self.neighbours(steps);
        self.proxies(steps);
        self.addresses(steps);
    }

    fn push(&self, phase: Phase, steps: &mut Steps, action: Action) {
        steps.push(phase, self.name, action);
    }

    /// The device stays; `lo` always does.
    fn stays(&self, device: &DeviceName) -> bool {
        device.as_str() == LOOPBACK
            || self.observed.links.get_key_value(device).is_some_and(|(device, _)| self.kept.has(self.name, device))
    }

    /// The device stays, but loses its last IPv4 address, for good or for a moment, and with it IPv4's routes and neighbours.
    fn dries_up(&self, device: &DeviceName, family: Family) -> bool {
        let on = |state: &'_ NamespaceState| -> BTreeSet<IpNet> {
            let on_device = |on: &&Address| &on.device == device && family_of(&on.net) == Family::V4;
            state.addresses.iter().filter(on_device).map(|on| on.net).collect()
        };
        if family == Family::V6 || device.as_str() == LOOPBACK {
            return false;
        }
        let (is, wanted) = (on(self.observed), on(self.desired));
        let all_anew = || {
            let anew = self.anew();
            is == wanted
                && is.iter().all(|net| anew.iter().any(|address| (&address.device, address.net) == (device, *net)))
        };
        !is.is_empty() && (wanted.is_empty() || all_anew())
    }

    fn rules(&self, steps: &mut Steps) {
        let anew = |rule: &PolicyRule| {
            rule.table == FIP_TABLE && rule.from.is_some_and(|from| self.fixed.contains(&from.addr()))
        };
        // What the kernel is told to remove is the first that fits, odd or not.
        let has_twin = |rule: &PolicyRule| {
            let plain = |rule: &PolicyRule| PolicyRule { odd: String::new(), ..rule.clone() };
            self.observed.rules.iter().any(|other| other != rule && plain(other) == plain(rule))
        };
        let mut left = BTreeSet::new();
        for rule in &self.observed.rules {
            if self.desired.rules.contains(rule) && !anew(rule) && !has_twin(rule) {
                left.insert(rule);
            } else if !self.fences.contains(rule) {
                self.push(Phase::Unsteer, steps, Action::RuleDelete(rule.clone()));
            }
        }
        let base = PolicyRule::base();
        let mut fences = Vec::new();
        for rule in self.desired.rules.iter().filter(|rule| !left.contains(rule)) {
            // Without the rules that a namespace is born with the kernel finds no way to any gateway.
            let phase = if base.contains(rule) { Phase::Neighbour } else { Phase::Steer };
            self.push(phase, steps, Action::RuleAdd(rule.clone()));
            let one = rule.from.filter(|from| from.prefix_len() == from.max_prefix_len());
            if let Some(from) = one.filter(|_| rule.table == FIP_TABLE && !self.new && self.forgets) {
                fences.push(fence::before(rule));
                self.push(Phase::ForgetFenced, steps, Action::ConntrackPurge(from));
            }
        }
        fence::put((self.name, self.observed), self.fences, &fences, steps);
    }

    fn routes(&self, steps: &mut Steps) {
        let mut left = BTreeSet::new();
        // A subnet whose route another one has taken leads to no next hop: it gets its route back for as long as that is needed.
        let more = self.desired.routes.difference(&self.observed.routes).any(|route| !self.takes_subnet(route));
        for route in &self.observed.routes {
            let wanted = self.desired.routes.contains(route) && !(more && self.takes_subnet(route));
            let inward = leads_in(self.observed, route);
            let gone = |device: &DeviceName| !self.stays(device) || self.dries_up(device, route.family());
            let lost = route.next_hops.iter().filter(|hop| gone(&hop.device)).count();
            if inward && (!wanted || self.floating.contains(&route.destination.addr())) {
                self.push(Phase::Refuse, steps, Action::RouteDelete(route.clone()));
            } else if lost == 0 && wanted {
                left.insert(route);
            } else if (lost > 0 && lost == route.next_hops.len()) || self.is_replaced(route) {
                // The kernel removes it, or the one that takes its place does.
            } else if fence::ends(self.fences, route) {
                // It is needed once more, and goes after that.
            } else {
                self.push(Phase::Withdraw, steps, Action::RouteDelete(route.clone()));
                self.restore(route, steps);
            }
        }
        let mut missing: Vec<&Route> = self.desired.routes.iter().filter(|route| !left.contains(route)).collect();
        missing.sort_by_key(|route| (self.takes_subnet(route), route.next_hops.iter().any(|hop| hop.via.is_some())));
        for route in missing {
            let phase = if leads_in(self.desired, route) { Phase::Accept } else { Phase::Route };
            self.push(phase, steps, Action::RouteReplace(route.clone()));
        }
    }

    /// The route takes the place of the one to a subnet that the namespace has an address in.
    fn takes_subnet(&self, route: &Route) -> bool {
        let own = self.desired.addresses.iter().filter(|on| !on.secondary && on.net.addr().is_ipv4());
        own.map(Route::connected).any(|subnet| subnet.key() == route.key())
    }

    /// Brings back the route to an IPv4 subnet where another one took its place.
    fn restore(&self, taken: &Route, steps: &mut Steps) {
        let both = self.desired.addresses.intersection(&self.observed.addresses);
        let own = both.filter(|on| !on.secondary && on.net.addr().is_ipv4() && self.stays(&on.device));
        for route in own.map(Route::connected).filter(|route| route.key() == taken.key()) {
            self.push(Phase::Route, steps, Action::RouteReplace(route));
        }
    }

    /// Brings back what the kernel made by itself, on devices and for addresses that stay.
    fn lost(&self, steps: &mut Steps) {
        for lost in &self.observed.lost {
            match lost {
                Lost::Route(route) => {
                    let of = |on: &&Address| Some(on.net.addr()) == route.source && on.net.trunc() == route.destination;
                    let both = self.desired.addresses.intersection(&self.observed.addresses);
                    if both.into_iter().any(|on| of(&on) && self.stays(&on.device)) {
                        self.push(Phase::Route, steps, Action::RouteReplace(route.clone()));
                    }
                }
                Lost::Address(address) if self.stays(&address.device) => self.lost_address(address, steps),
                Lost::Address(_) => {}
            }
        }
    }

    /// An IPv6 address is made anew. A device that gets another MAC takes its link-local address along, if it has one.
    fn lost_address(&self, address: &Address, steps: &mut Steps) {
        let mac = |state: &NamespaceState| state.links.get(&address.device).map(|link| link.mac);
        let of_mac = |state| mac(state).is_some_and(|mac| is_link_local_of(mac, &address.net));
        if self.wanted(address).is_some_and(|_| !self.anew().iter().any(|anew| anew.net == address.net))
            || (of_mac(self.observed) && of_mac(self.desired))
        {
            self.push(Phase::Address, steps, Action::AddressDelete(address.clone()));
            self.push(Phase::Address, steps, Action::AddressAdd(address.clone()));
        } else if of_mac(self.observed)
            && let Some(wanted) = mac(self.desired)
        {
            let net = Ipv6Net::new_assert(wanted.link_local(), address.net.prefix_len()).into();
            let other = Address::new(address.device.clone(), net);
            if !self.observed.addresses.contains(&other) {
                self.push(Phase::Address, steps, Action::AddressAdd(other));
            }
        }
    }

    /// A desired route takes its place, there being one to take.
    fn is_replaced(&self, route: &Route) -> bool {
        let with_key = |state: &NamespaceState| state.routes.iter().filter(|other| other.key() == route.key()).count();
        let on_staying = route.next_hops.iter().all(|hop| self.stays(&hop.device));
        on_staying && with_key(self.desired) == 1 && with_key(self.observed) == 1
    }

    fn neighbours(&self, steps: &mut Steps) {
        let mut left = BTreeSet::new();
        for (key, mac) in &self.observed.neighbours {
            let (device, address) = key;
            if !self.stays(device) || self.dries_up(device, Family::of(*address)) {
                continue;
            }
            match self.desired.neighbours.get(key) {
                Some(wanted) if wanted == mac => {
                    left.insert(key);
                }
                Some(_other) => {}
                None => self.push(Phase::Withdraw, steps, Action::NeighbourDelete(device.clone(), *address)),
            }
        }
        for (key, mac) in self.desired.neighbours.iter().filter(|(key, _)| !left.contains(key)) {
            self.push(Phase::Neighbour, steps, Action::NeighbourReplace(key.0.clone(), key.1, *mac));
        }
    }

    fn proxies(&self, steps: &mut Steps) {
        let unwanted = self.observed.proxies.difference(&self.desired.proxies);
        for (device, address) in unwanted.filter(|(device, _)| self.stays(device)) {
            self.push(Phase::Withdraw, steps, Action::ProxyDelete(device.clone(), *address));
        }
    }

    fn addresses(&self, steps: &mut Steps) {
        let anew = self.anew();
        for address in self.observed.addresses.iter().filter(|address| self.stays(&address.device)) {
            let link = self.desired.links.get(&address.device);
            let of_kernel = link.is_some_and(|link| is_link_local_of(link.mac, &address.net));
            if of_kernel && !address.odd.is_empty() {
                let usual = Address::new(address.device.clone(), address.net);
                self.push(Phase::Address, steps, Action::AddressDelete(address.clone()));
                self.push(Phase::Address, steps, Action::AddressAdd(usual));
            } else if self.wanted(address).is_none() && !of_kernel {
                self.push(self.phase_of_removal(address), steps, Action::AddressDelete(address.clone()));
            }
        }
        let stands = |wanted: &&Address| {
            let mut alike =
                self.observed.addresses.iter().filter(|is| (&is.device, is.net) == (&wanted.device, wanted.net));
            self.stays(&wanted.device) && alike.next().is_some()
        };
        let mut new: Vec<&Address> = self.desired.addresses.iter().filter(|address| !stands(address)).collect();
        new.sort_by_key(|address| address.secondary);
        for address in new {
            self.push(Phase::Address, steps, Action::AddressAdd(address.clone()));
            if self.answers(&address.device) {
                let announce = Action::Announce(address.device.clone(), address.net.addr());
                self.push(Phase::Announce, steps, announce);
            }
        }
        for address in &anew {
            self.push(Phase::Address, steps, Action::AddressDelete((*address).clone()));
        }
        let mut back: Vec<&Address> = anew.iter().filter_map(|address| self.wanted(address)).collect();
        back.sort_by_key(|address| address.secondary);
        for address in back {
            self.push(Phase::Address, steps, Action::AddressAdd(address.clone()));
        }
        let inward = self.desired.routes.iter().filter(|route| leads_in(self.desired, route));
        for route in inward.filter(|route| route.destination.prefix_len() == route.destination.max_prefix_len()) {
            let stood = self.observed.routes.contains(route) && !self.floating.contains(&route.destination.addr());
            let stays = stood && route.next_hops.iter().all(|hop| self.stays(&hop.device));
            for device in self.desired.links.keys().filter(|device| !stays && self.answers(device)) {
                let announce = Action::Announce(device.clone(), route.destination.addr());
                self.push(Phase::Announce, steps, announce);
            }
        }
    }

    /// The desired address that is the same but perhaps for what is odd about it or its rank in its subnet.
    fn wanted(&self, address: &Address) -> Option<&Address> {
        self.desired.addresses.iter().find(|wanted| (&wanted.device, wanted.net) == (&address.device, address.net))
    }

    /// Observed addresses that stay and have to be made anew: odd ones, and where the eldest of a subnet is not the one that
    /// should be, the others, after which it is.
    fn anew(&self) -> Vec<&Address> {
        let both = self.observed.addresses.iter().filter(|address| self.stays(&address.device));
        let both = both.filter_map(|address| Some((address, self.wanted(address)?)));
        both.filter(|(is, wanted)| is.odd != wanted.odd || (wanted.secondary && self.is_passed(is)))
            .map(|(is, _)| is)
            .collect()
    }

    /// The address that should be the eldest of this one's subnet is not.
    fn is_passed(&self, address: &Address) -> bool {
        let alike = |other: &&Address| other.device == address.device && other.net.trunc() == address.net.trunc();
        let eldest = self.desired.addresses.iter().filter(alike).find(|other| !other.secondary);
        eldest.is_some_and(|eldest| !self.observed.addresses.contains(eldest))
    }

    /// An address that is alone on its device, or that a removal of its elder would take along, and any of a gateway goes when
    /// the new ones are there; a floating one at once; any other before the rules change.
    fn phase_of_removal(&self, address: &Address) -> Phase {
        let family = family_of(&address.net);
        let alike = |other: &&Address| other.device == address.device && family_of(&other.net) == family;
        let again = |other: &Address| family == Family::V6 && other.net.addr() == address.net.addr();
        if self.desired.addresses.iter().filter(alike).any(again) {
            // IPv6 has an address on a device once, whatever the length of its prefix.
            return Phase::Withdraw;
        }
        let mut desired = self.desired.addresses.iter().filter(alike);
        let promotes = sysctl::read(&self.observed.sysctls, "net.ipv4.conf.all.promote_secondaries") == Some("1");
        let anew = self.anew();
        let stay = |other: &Address| self.wanted(other).is_some() && !anew.contains(&other);
        let shares = self.observed.addresses.iter().any(|other| alike(&other) && stay(other));
        // Connections stand on a gateway's address: what tells of them goes when they are forgotten.
        let floating = address.net.prefix_len() == address.net.max_prefix_len();
        let of_gateway = address.device.as_str().starts_with("qg-") && !floating;
        if desired.next().is_some() && (of_gateway || !(shares && promotes)) {
            Phase::Replace
        } else if floating {
            Phase::Refuse
        } else {
            Phase::Withdraw
        }
    }

    /// The device is on a network, where addresses are announced.
    fn answers(&self, device: &DeviceName) -> bool {
        let link = self.desired.links.get(device);
        link.is_some_and(|link| link.up && matches!(link.attach, Attach::Network(_)))
    }
}

/// The address is the one that the kernel makes of this MAC.
fn is_link_local_of(mac: Mac, net: &IpNet) -> bool {
    net.addr() == mac.link_local() && net.prefix_len() == 64
}

/// The route leads from a fip namespace to a router: to a floating IP, or to a subnet that needs none.
fn leads_in(state: &NamespaceState, route: &Route) -> bool {
    let to_router =
        |device: &DeviceName| state.links.get(device).is_some_and(|link| matches!(link.attach, Attach::Peer { .. }));
    route.table == TABLE_MAIN
        && route.destination.prefix_len() > 0
        && route.next_hops.iter().any(|hop| hop.via.is_some() && to_router(&hop.device))
}
