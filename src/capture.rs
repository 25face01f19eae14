//! Captured frames, and the files that Wireshark opens.
//!
//! In: frames with where, when and during what they were seen. Out: the bytes of a pcapng file. Never: a file or a socket:
//! [`crate::kernel::capture`] reads the one, the command line writes the other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};
use serde::{Deserialize, Serialize};

use crate::flow::Place;
use crate::name::DeviceName;

/// `if_tsresol`: times are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// `epb_flags`, direction: 1 in, 2 out. Source: the pcapng specification, section 4.3.1.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A frame, where it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// A router namespace, a node, a host's own namespace, or a provider segment's (`seg-public`).
    pub place: Place,
    /// The device that it came in or left by.
    pub device: DeviceName,
    /// It left.
    pub outgoing: bool,
    /// By the kernel's clock, since 1970-01-01. For who looks at it; nothing is judged by it.
    pub at: Duration,
    /// All of it, from the Ethernet header on.
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
    /// What was going on: the operation that was under way, the probe that it belongs to.
    pub notes: Vec<String>,
}

/// What was captured in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// In the order of time.
    pub frames: Vec<Frame>,
    /// How many more frames there were than sockets had room for.
    pub missed: BTreeMap<Place, u32>,
    /// Why a namespace could not be captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

impl Capture {
    /// There is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A pcapng section that grows: a device at its first frame, frames one by one.
pub struct Section {
    writer: PcapNgWriter<Vec<u8>>,
    interfaces: BTreeMap<String, u32>,
}

impl Section {
    /// Begins a section; `comment` says what it is of.
    pub fn new(comment: &str) -> Self {
        let header = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![
                SectionHeaderOption::Comment(Cow::Owned(comment.to_owned())),
                SectionHeaderOption::UserApplication(Cow::Borrowed(concat!("dvrlab ", env!("CARGO_PKG_VERSION")))),
            ],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(Vec::new(), header).expect(ENDLESS);
        Self { writer, interfaces: BTreeMap::new() }
    }

    /// Adds a frame of the device called `interface`, with what is known of it.
    pub fn add(&mut self, interface: &str, frame: &Frame, notes: &[String]) {
        let interface_id = self.interface(interface, &frame.place);
        let mut options = Vec::new();
        if !notes.is_empty() {
            options.push(EnhancedPacketOption::Comment(Cow::Owned(notes.join("; "))));
        }
        options.push(EnhancedPacketOption::Flags(if frame.outgoing { OUTBOUND } else { INBOUND }));
        let packet = EnhancedPacketBlock {
            interface_id,
            timestamp: frame.at,
            original_len: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&frame.bytes),
            options,
        };
        self.writer.write_pcapng_block(packet).expect(ENDLESS);
    }

    /// Says that frames are missing.
    pub fn miss(&mut self, interface: &str, place: &Place, frames: u32) {
        let interface_id = self.interface(interface, place);
        let told = format!("{place}: {frames} frames more than there was room for");
        let options = vec![
            InterfaceStatisticsOption::Comment(Cow::Owned(told)),
            InterfaceStatisticsOption::IsbIfDrop(frames.into()),
        ];
        let statistics = InterfaceStatisticsBlock { interface_id, timestamp: 0, options };
        self.writer.write_pcapng_block(statistics).expect(ENDLESS);
    }

    /// The bytes since this was last asked; together they are the file.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }

    fn interface(&mut self, name: &str, place: &Place) -> u32 {
        if let Some(known) = self.interfaces.get(name) {
            return *known;
        }
        let description = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
                InterfaceDescriptionOption::IfDescription(Cow::Owned(place.to_string())),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.writer.write_pcapng_block(description).expect(ENDLESS);
        let id = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(name.to_owned(), id);
        id
    }
}

/// Why writing cannot fail.
const ENDLESS: &str = "memory takes every block, and every frame's device is described before it";

/// Bytes as text, for the pipe from the sandbox.
mod hex {
    use std::fmt::Write as _;

    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            write!(text, "{byte:02x}").map_err(S::Error::custom)?;
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pair = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            u8::from_str_radix(text, 16).map_err(D::Error::custom)
        };
        text.as_bytes().chunks(2).map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::{Block, PcapNgReader};

    fn frame(bytes: &[u8]) -> Frame {
        Frame {
            place: Place::try_from("cmp1/qrouter-r1".to_owned()).unwrap(),
            device: DeviceName::new("qr-red4").unwrap(),
            outgoing: true,
            at: Duration::new(1_700_000_000, 123_456_789),
            bytes: bytes.to_vec(),
            notes: vec!["probe 7: vm1 -> web icmp, request".to_owned()],
        }
    }

    #[test]
    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else there is must not be there")]
    fn what_is_written_reads_back() {
        let mut section = Section::new("floating-ip/in-out: cmp1/qrouter-r1");
        let one = frame(&[1, 2, 3, 4, 5]);
        section.add("qr-red4", &one, &["step 1".to_owned(), "probe 7".to_owned()]);
        let mut file = section.take();
        section.add("rfp-r1", &one, &[]);
        section.miss("qr-red4", &one.place, 3);
        file.extend(section.take());
        let mut reader = PcapNgReader::new(file.as_slice()).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            seen.push(match block.unwrap() {
                Block::InterfaceDescription(device) => match &device.options[0] {
                    InterfaceDescriptionOption::IfName(name) => format!("device {name}"),
                    other => panic!("{other:?}"),
                },
                Block::EnhancedPacket(packet) => {
                    assert_eq!((packet.timestamp, packet.data.as_ref()), (one.at, [1, 2, 3, 4, 5].as_slice()));
                    format!("frame {} {:?}", packet.interface_id, packet.options)
                }
                Block::InterfaceStatistics(statistics) => format!("{:?}", statistics.options[1]),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(
            seen,
            [
                "device qr-red4",
                "frame 0 [Comment(\"step 1; probe 7\"), Flags(2)]",
                "device rfp-r1",
                "frame 1 [Flags(2)]",
                "IsbIfDrop(3)"
            ]
        );
    }

    #[test]
    fn a_frame_comes_through_the_pipe_as_it_was() {
        let sent = frame(&[0, 0x0f, 0xf0, 0xff]);
        let text = serde_json::to_string(&sent).unwrap();
        assert!(text.contains("\"000ff0ff\""), "{text}");
        assert_eq!(serde_json::from_str::<Frame>(&text).unwrap(), sent);
    }
}
