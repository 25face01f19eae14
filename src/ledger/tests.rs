//! Each clause holds of an account that agrees, and says what is wrong of one that does not.

use super::*;
use crate::flow::{Place, Protocol};
use crate::name::{DeviceName, Name};

const OWN: &str = "10.0.1.11";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn host(text: &str) -> HostName {
    HostName::new(text).expect("a name")
}

fn place(text: &str) -> Place {
    Place::try_from(text.to_owned()).expect("a place")
}

/// One before, one a row of `ops`, and `settled` after.
fn moments(ops: &[&str], settled: u32) -> Vec<Moment> {
    let after = ops.iter().map(|op| Moment::After {
        host: host("cmp1"),
        namespace: "qrouter-r1".to_owned(),
        op: (*op).to_owned(),
    });
    std::iter::once(Moment::Before).chain(after).chain((1..=settled).map(Moment::Settled)).collect()
}

/// A packet that `who` saw from `source`, by the external legs of these hosts, and answered.
fn seen(source: &str, who: &str, hosts: &[&str]) -> Packet {
    let hop = |name: &&str| Hop {
        place: place(&format!("{name}/fip-public")),
        entered: None,
        left: Some(DeviceName::new("fg-public").expect("a name")),
        source: address(source),
        destination: address("198.51.100.2"),
        ttl: 62,
    };
    Packet {
        answered: true,
        seen: Some(Seen {
            responder: place(who),
            source: address(source),
            source_port: Some(7000),
            ttl: 60,
            mac: None,
        }),
        reached_at: Some(address("198.51.100.2")),
        path: hosts.iter().map(hop).collect(),
        ..Packet::default()
    }
}

fn good() -> Packet {
    seen("203.0.113.10", "web", &["net1"])
}

fn lost() -> Packet {
    Packet::default()
}

fn judged(demand: &Demand, packets: &[Packet], moments: &[Moment]) -> Vec<String> {
    assert_eq!(packets.len(), moments.len(), "each packet has its moment");
    judged_after(&Past::default(), demand, packets, moments)
}

fn judged_after(past: &Past, demand: &Demand, packets: &[Packet], moments: &[Moment]) -> Vec<String> {
    let flow = Flow::new(Name::new("vm1").expect("a name"), address("198.51.100.2"), Protocol::Udp(9000));
    let course = Course { number: 1, flow, quiet: false, pace: None };
    let tenants = [address(OWN)].into_iter().collect();
    demand.judge(&account(&course, past, packets, moments, &tenants), Some(address(OWN)))
}

fn agrees(demand: &Demand, packets: &[Packet], moments: &[Moment]) {
    assert_eq!(judged(demand, packets, moments), [""; 0]);
}

#[test]
fn loss_is_counted_and_placed() {
    let moments = moments(&["a", "b", "c", "d"], 1);
    let none = Demand { loss: Some(0), ..Demand::default() };
    let two = Demand { loss: Some(2), ..Demand::default() };
    agrees(&none, &[good(), good(), good(), good(), good(), good()], &moments);
    let some = [good(), lost(), good(), lost(), good(), good()];
    agrees(&two, &some, &moments);
    assert_eq!(
        judged(&none, &some, &moments),
        ["lost 2 packets of 6: after \"a\" in cmp1/qrouter-r1, after \"c\" in cmp1/qrouter-r1"]
    );
    let most = [good(), lost(), lost(), lost(), lost(), good()];
    assert_eq!(
        judged(&two, &most, &moments),
        ["lost 4 packets of 6, at most 2 expected: after \"a\" in cmp1/qrouter-r1, after \"b\" in cmp1/qrouter-r1, \
            after \"c\" in cmp1/qrouter-r1 and 1 more"]
    );
}

#[test]
fn a_gap_is_the_longest_row_of_ops_without_an_answer() {
    let moments = moments(&["a", "b", "c", "d"], 1);
    let demand = Demand { gap: Some(1), ..Demand::default() };
    agrees(&demand, &[lost(), lost(), good(), lost(), good(), lost()], &moments);
    assert_eq!(
        judged(&demand, &[good(), lost(), good(), lost(), lost(), good()], &moments),
        [
            "no service during 2 ops, 1 expected: from after \"c\" in cmp1/qrouter-r1 up to after \"d\" in cmp1/qrouter-r1"
        ]
    );
    let none = Demand { gap: Some(0), ..Demand::default() };
    assert_eq!(
        judged(&none, &[good(), good(), lost(), good(), good(), good()], &moments),
        ["no service during 1 op, 0 expected: after \"b\" in cmp1/qrouter-r1"]
    );
}

#[test]
fn kept_is_one_pair_at_the_far_end_and_alive() {
    let moments = moments(&["a"], 2);
    let demand = Demand { kept: true, ..Demand::default() };
    agrees(&demand, &[good(), lost(), good(), good()], &moments);
    let other = || seen("203.0.113.101", "web", &["cmp1"]);
    assert_eq!(
        judged(&demand, &[good(), other(), other(), other()], &moments),
        ["another pair of addresses and ports at the far end: as 203.0.113.10, then 203.0.113.101, \
            since after \"a\" in cmp1/qrouter-r1"]
    );
    assert_eq!(
        judged(&demand, &[good(), good(), lost(), lost()], &moments),
        ["dead, and nobody said so, first 1 after settling"]
    );
    let unanswered = || Packet { answered: false, ..good() };
    assert_eq!(
        judged(&demand, &[good(), good(), unanswered(), unanswered()], &moments),
        ["no answers any more, first 1 after settling"]
    );
    let refused = Packet { refused: Some((Verdict::Refused, address("203.0.113.10"))), ..Packet::default() };
    assert_eq!(
        judged(&demand, &[good(), good(), refused, lost()], &moments),
        ["cut; refused by 203.0.113.10 1 after settling, first 1 after settling"]
    );
}

#[test]
fn what_is_cut_worked_and_is_silent_both_ways() {
    let moments = moments(&["a"], 2);
    let demand = Demand { cut: true, ..Demand::default() };
    agrees(&demand, &[good(), good(), lost(), lost()], &moments);
    let returned = Packet { returned: true, ..Packet::default() };
    assert_eq!(
        judged(&demand, &[good(), good(), lost(), returned], &moments),
        ["not cut: after settling 0 of 2 packets arrive, 0 are answered, 1 come back unasked"]
    );
    assert_eq!(
        judged(&demand, &[good(), good(), good(), lost()], &moments),
        ["not cut: after settling 1 of 2 packets arrive, 1 are answered, 0 come back unasked"]
    );
    assert_eq!(
        judged(&demand, &[lost(), lost(), lost(), lost()], &moments),
        ["nothing of it ever arrived, so nothing could be cut"]
    );
}

#[test]
fn an_open_flow_has_a_past() {
    let moments = moments(&["a"], 2);
    let (kept, cut) = (Demand { kept: true, ..Demand::default() }, Demand { cut: true, ..Demand::default() });
    let mut past = Past::default();
    past.extend(&[good(), good()]);
    // What it was in an earlier step counts, ...
    let other = || seen("203.0.113.101", "web", &["cmp1"]);
    assert_eq!(
        judged_after(&past, &kept, &[other(), other(), other(), other()], &moments),
        ["another pair of addresses and ports at the far end: as 203.0.113.101"]
    );
    assert_eq!(judged_after(&past, &kept, &[good(), lost(), good(), good()], &moments), [""; 0]);
    // ... so what is silent now was cut once, ...
    assert_eq!(judged_after(&past, &cut, &[lost(), lost(), lost(), lost()], &moments), [""; 0]);
    past.extend(&[Packet { refused: Some((Verdict::Refused, address("203.0.113.10"))), ..Packet::default() }]);
    assert_eq!(
        judged_after(&past, &kept, &[lost(), lost(), lost(), lost()], &moments),
        ["cut, first before the first op"]
    );
    // ... and one that begins within the step has the later moments.
    let late = judged_after(&past, &Demand { loss: Some(0), ..Demand::default() }, &[lost(), good(), good()], &moments);
    assert_eq!(late, ["lost 1 packet of 3: after \"a\" in cmp1/qrouter-r1"]);
}

#[test]
fn sources_come_in_their_order() {
    let moments = moments(&["a"], 2);
    let sources = vec![Sight::Address(address("203.0.113.10")), Sight::Itself];
    let demand = Demand { sources, ..Demand::default() };
    let own = || seen(OWN, "web", &[]);
    agrees(&demand, &[good(), lost(), own(), own()], &moments);
    let then = "not as 203.0.113.10 then 10.0.1.11";
    assert_eq!(
        judged(&demand, &[good(), own(), own(), good()], &moments),
        [format!("as 203.0.113.10 (1 packet, first 2 after settling), {then}")]
    );
    assert_eq!(
        judged(&demand, &[good(), good(), good(), good()], &moments),
        [format!("as 203.0.113.10 at last, {then}")]
    );
    assert_eq!(
        judged(&demand, &[lost(), lost(), lost(), lost()], &moments),
        [format!("as nothing, since nothing arrived; {then}")]
    );
    // What is cut need not come to its last source.
    agrees(&Demand { cut: true, ..demand }, &[good(), good(), lost(), lost()], &moments);
}

#[test]
fn a_way_has_all_its_hosts() {
    let moments = moments(&["a"], 2);
    let demand = Demand { via: vec![vec![host("net1")], vec![host("cmp1"), host("cmp2")]], ..Demand::default() };
    let both = || seen("203.0.113.101", "vm2", &["cmp1", "cmp2"]);
    agrees(&demand, &[good(), both(), both(), both()], &moments);
    assert_eq!(
        judged(&demand, &[good(), both(), both(), seen("203.0.113.101", "vm2", &["cmp1"])], &moments),
        ["via cmp1 (1 packet, first 2 after settling), not via net1 then cmp1 cmp2"]
    );
}

#[test]
fn who_is_reached_is_a_node_or_a_host() {
    let moments = moments(&["a"], 2);
    let reaches = vec![Name::new("web").expect("a name"), Name::new("cmp1").expect("a name")];
    let demand = Demand { reaches, ..Demand::default() };
    let by_host = || seen("203.0.113.10", "cmp1/qrouter-r1", &[]);
    agrees(&demand, &[good(), good(), by_host(), by_host()], &moments);
    assert_eq!(
        judged(&demand, &[good(), seen("203.0.113.10", "peer", &[]), by_host(), by_host()], &moments),
        ["reaches peer (1 packet, first after \"a\" in cmp1/qrouter-r1), not reaches web then cmp1"]
    );
}

#[test]
fn a_tenant_source_on_an_external_leg_is_bare_either_way() {
    let moments = moments(&["a"], 2);
    let demand = Demand { never_bare: true, ..Demand::default() };
    agrees(&demand, &[good(), lost(), good(), good()], &moments);
    let out = seen(OWN, "web", &["net1"]);
    assert_eq!(
        judged(&demand, &[good(), out.clone(), good(), good()], &moments),
        ["1 packet left with a tenant source: after \"a\" in cmp1/qrouter-r1"]
    );
    let back = Packet { reply_path: out.path, ..good() };
    assert_eq!(
        judged(&demand, &[good(), good(), good(), back], &moments),
        ["1 packet left with a tenant source: 2 after settling"]
    );
    // Inside, a tenant's source is as it should be.
    agrees(&demand, &[good(), seen(OWN, "vm2", &[]), good(), good()], &moments);
}

#[test]
fn what_a_kernel_held_is_lost_whether_it_comes_late_or_not_at_all() {
    let moments = moments(&["a", "b", "c"], 1);
    let held = |answered| Packet { held: true, answered, late: answered, ..good() };
    for answered in [true, false] {
        let packets = [good(), held(answered), held(answered), good(), good()];
        let told = judged(&Demand { loss: Some(0), gap: Some(1), ..Demand::default() }, &packets, &moments);
        assert_eq!(
            told,
            [
                "lost 2 packets of 5: after \"a\" in cmp1/qrouter-r1, after \"b\" in cmp1/qrouter-r1",
                "no service during 2 ops, 1 expected: from after \"a\" in cmp1/qrouter-r1 up to after \"b\" in cmp1/qrouter-r1",
            ]
        );
    }
    let late = Packet { late: true, ..good() };
    let told =
        judged(&Demand { loss: Some(0), ..Demand::default() }, &[good(), late, good(), good(), good()], &moments);
    assert!(told.is_empty(), "nobody held it: {told:?}");
}
