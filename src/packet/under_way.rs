//! What of a flow under way packets that are made beside it need.

use std::net::IpAddr;

use super::Packet;
use crate::flow::Place;

/// How a flow stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// As its sender has it.
    pub near: Option<Tuple>,
    /// As the far end sees it that it came to last.
    pub far: Option<Tuple>,
    /// TCP: the numbers of the sender's next segment.
    pub sender: Option<Numbers>,
    /// TCP: those of the far end's.
    pub receiver: Option<Numbers>,
    /// The latest packets that came to places, one each way.
    pub came: Vec<(Place, Packet)>,
}

/// Addresses and ports of a flow's packets, from its sender to its far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Source port, or echo id.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port; 0 of echo.
    pub port: u16,
}

/// Numbers of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
}

impl Tuple {
    /// Of the packets that come back.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { source: self.destination, source_port: self.port, destination: self.source, port: self.source_port }
    }
}
