//! What is written reads back, and cutting and putting together leave a packet as it was.

use super::*;

fn udp(from: &str, to: &str, payload: usize) -> Packet {
    let content = Content::Udp { ports: (7000, 9000), payload: (0..=255).cycle().take(payload).collect() };
    Packet::new(from.parse().unwrap(), to.parse().unwrap(), 61, content)
}

fn framed(body: Body) -> Frame {
    Frame { source: Mac([2, 0, 0, 0, 0, 1]), destination: Mac::BROADCAST, body }
}

fn there_and_back(packet: Packet) -> Packet {
    match read(&write(&framed(Body::Ip(packet)))).expect("it reads back").body {
        Body::Ip(packet) => packet,
        Body::Neighbour(neighbour) => panic!("{neighbour}"),
    }
}

const ENDS: [(&str, &str); 2] = [("10.0.1.11", "198.51.100.2"), ("fd00::1", "2001:db8::2")];

#[test]
fn packets_read_back_as_they_were_written() {
    for (from, to) in ENDS {
        let quoted = Box::new(udp(from, to, 8));
        let gateway = from.parse().unwrap();
        let contents = [
            Content::Udp { ports: (1, 2), payload: b"odd".to_vec() },
            Content::Tcp { ports: (1, 2), sequence: 3, acknowledgement: 4, flags: 0x12, payload: b"data".to_vec() },
            Content::Echo { reply: false, id: 77, payload: b"ping".to_vec() },
            Content::Echo { reply: true, id: 77, payload: Vec::new() },
            Content::Error(ErrorKind::NetUnreachable, Some(quoted.clone())),
            Content::Error(ErrorKind::HostUnreachable, Some(quoted.clone())),
            Content::Error(ErrorKind::PortUnreachable, Some(quoted.clone())),
            Content::Error(ErrorKind::Prohibited, Some(quoted.clone())),
            Content::Error(ErrorKind::TooBig(1300), Some(quoted.clone())),
            Content::Error(ErrorKind::Expired, Some(quoted.clone())),
            Content::Error(ErrorKind::Redirect(gateway), Some(quoted)),
            Content::RouterAdvert,
        ];
        for content in contents {
            for good_checksum in [true, false] {
                let mut packet = Packet::new(from.parse().unwrap(), to.parse().unwrap(), 61, content.clone());
                packet.good_checksum = good_checksum;
                assert_eq!(there_and_back(packet.clone()), packet, "{packet}");
            }
        }
    }
    let mut packet = udp("10.0.1.11", "198.51.100.2", 8);
    (packet.id, packet.dont_fragment) = (4711, true);
    assert_eq!(there_and_back(packet.clone()), packet);
}

#[test]
fn questions_and_announcements_read_back() {
    for (own, wanted) in ENDS {
        let (own, wanted): (IpAddr, IpAddr) = (own.parse().unwrap(), wanted.parse().unwrap());
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        for (kind, other) in
            [(NeighbourKind::Request, own), (NeighbourKind::Reply, own), (NeighbourKind::Announce, wanted)]
        {
            let frame = framed(Body::Neighbour(Neighbour { kind, other, wanted, mac }));
            assert_eq!(read(&write(&frame)), Some(frame));
        }
    }
}

#[test]
fn fragments_in_any_order_make_the_packet_and_overlaps_make_nothing() {
    for (from, to) in ENDS {
        let mut packet = udp(from, to, 100);
        packet.id = 99;
        let pieces: Vec<Packet> = cut(&packet, 40).into_iter().map(there_and_back).collect();
        assert_eq!(pieces.len(), 3);
        let mut assembler = Assembler::default();
        let mut came = [2, 0, 2].iter().filter_map(|number| assembler.take(&pieces[*number]));
        assert_eq!(came.next(), None);
        let whole = assembler.take(&pieces[1]).expect("all pieces have come");
        assert_eq!((whole.content, whole.size, whole.good_checksum), (packet.content.clone(), packet.size, true));
        let mut assembler = Assembler::default();
        let other = cut(&packet, 64);
        let mixed = [&pieces[0], &other[1], &pieces[1], &pieces[2]];
        assert!(mixed.into_iter().all(|piece| assembler.take(piece).is_none()));
    }
}

#[test]
fn flags_are_letters() {
    assert_eq!((flags_of("SA"), flags_of("AS")), (Some(0x12), Some(0x12)));
    assert_eq!((flags_of("SS"), flags_of("X"), flags_of("")), (None, None, Some(0)));
    assert_eq!(letters(0x12), "SA");
}
