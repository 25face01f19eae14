//! `probe`: packets made to order, and what must be seen of them.
//!
//! In: the list below `probe`. Out: [`Exchange`]s whose patterns judge what was seen. Never: a look at anything but the file and
//! what is in force then.

mod beside;
mod ends;
mod judge;
mod load;
mod packet;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use beside::{Beside, UnderWays};
pub use judge::MacsOf;
pub(super) use read::Reader;

use super::world::World;
use crate::flow::Place;
use crate::packet::{Body, Content, ErrorKind, Frame, Hardware, NeighbourKind, Packet, Sighted, Template, Volley};

/// Packets that go out, and what must be seen then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its line in the file, from 1.
    pub line: usize,
    /// In one line, as the author would write it.
    pub text: String,
    /// The packets to send.
    pub send: Vec<ToSend>,
    /// As [`Volley::order`].
    pub order: Vec<(usize, Option<usize>)>,
    /// Each must be seen.
    pub seen: Vec<Pattern>,
    /// None may be seen.
    pub not_seen: Vec<Pattern>,
    /// How often.
    pub times: u32,
}

/// A packet to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToSend {
    /// Its name in the step.
    pub name: Option<String>,
    /// The packet that it answers.
    pub answers: Option<String>,
    /// An error quotes what it answers.
    pub quotes: bool,
    /// What follows from open flows.
    pub beside: Beside,
    /// The packet; what follows from an answer or an open flow is not in it yet.
    pub template: Template,
}

/// A packet that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As the author would write it in one line, without the place.
    pub text: String,
    /// Where.
    pub at: Place,
    /// What is compared.
    pub facts: Facts,
    /// Exactly that many; at least one unless told otherwise.
    pub count: Option<usize>,
}

/// What is compared of a packet; what is absent is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// One of these is the source; empty: any.
    pub source: Vec<IpAddr>,
    /// One of these is the destination; empty: any.
    pub to: Vec<IpAddr>,
    /// `udp`, `tcp`, `icmp`.
    pub protocol: Option<String>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub port: Option<u16>,
    /// TCP flags.
    pub flags: Option<u8>,
    /// TCP sequence number.
    pub sequence: Option<u32>,
    /// TCP acknowledgement number.
    pub acknowledgement: Option<u32>,
    /// What it says in ICMP, by the language's word; `frag-needed` is `too-big`.
    pub icmp: Option<String>,
    /// The MTU told.
    pub mtu: Option<u32>,
    /// What an error quotes.
    pub quoting: Option<Box<Self>>,
    /// ARP or neighbour discovery: for IPv4, and what.
    pub neighbour: Option<(bool, NeighbourKind)>,
    /// Identification.
    pub id: Option<u32>,
    /// Echo id.
    pub icmp_id: Option<u16>,
    /// TTL or hop limit left.
    pub ttl: Option<u8>,
    /// It may not be cut.
    pub dont_fragment: Option<bool>,
    /// Bytes of the IP packet.
    pub size: Option<usize>,
    /// What it carries.
    pub payload: Option<String>,
    /// It is a fragment that begins there.
    pub fragment: Option<usize>,
    /// Whether its checksum is right.
    pub good_checksum: Option<bool>,
    /// Source MAC.
    pub mac: Option<Hardware>,
    /// Destination MAC.
    pub to_mac: Option<Hardware>,
    /// What follows from open flows.
    pub beside: Beside,
}

/// A packet of this step as it looked where it arrived, by its name.
pub type Arrivals = BTreeMap<String, Packet>;

/// A packet cannot be made, or not be looked for: what it refers to is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// The packet that it answers did not arrive.
    #[error("`{0}` did not arrive anywhere, so nothing answers it")]
    NotArrived(String),
    /// The open flow has not come to a far end.
    #[error("`{0}` has not come to a far end, so it has no port there")]
    NowhereYet(String),
    /// No packet of the open flow has come to who would quote it.
    #[error("no packet of `{flow}` has come to {place}, so it has nothing to quote")]
    NothingToQuote {
        /// The flow.
        flow: String,
        /// Who tells the error.
        place: Place,
    },
    /// Numbers stand beside those of a connection, and there is none.
    #[error("no open TCP flow that is alive has these addresses and ports, so there is nothing to count from")]
    NoConnection,
    /// There are several.
    #[error("several open TCP flows have these addresses and ports: name more of them, so that one is left")]
    SeveralConnections,
}

impl Exchange {
    /// What is sent, now that it is known how the packets looked that are answered.
    ///
    /// # Errors
    /// [`Unready`].
    pub fn volley(&self, arrivals: &Arrivals) -> Result<Volley, Unready> {
        let packets = self.send.iter().map(|one| one.template(arrivals)).collect::<Result<_, _>>()?;
        Ok(Volley { packets, order: self.order.clone() })
    }

    /// Notes where the packets of this exchange arrived: at a node that has their destination.
    pub fn arrivals(&self, sent: &[Frame], seen: &[Sighted], owns: &dyn Fn(&Place, IpAddr) -> bool) -> Arrivals {
        let mut arrivals = Arrivals::new();
        for (one, frame) in self.send.iter().zip(sent) {
            let (Some(name), Body::Ip(packet)) = (&one.name, &frame.body) else { continue };
            let Some(identity) = packet.identity() else { continue };
            let came = seen.iter().find_map(|sighted| match &sighted.frame.body {
                Body::Ip(other)
                    if sighted.incoming
                        && other.identity().as_ref() == Some(&identity)
                        && owns(&sighted.place, other.destination) =>
                {
                    Some(other)
                }
                Body::Ip(_) | Body::Neighbour(_) => None,
            });
            arrivals.extend(came.map(|packet| (name.clone(), packet.clone())));
        }
        arrivals
    }
}

/// What a packet says in ICMP, by the language's word.
fn icmp_word(content: &Content) -> Option<&'static str> {
    match content {
        Content::Echo { reply: false, .. } => Some("echo-request"),
        Content::Echo { reply: true, .. } => Some("echo-reply"),
        Content::RouterAdvert => Some("router-advert"),
        Content::Error(kind, _) => Some(match kind {
            ErrorKind::NetUnreachable => "net-unreachable",
            ErrorKind::HostUnreachable => "host-unreachable",
            ErrorKind::PortUnreachable => "port-unreachable",
            ErrorKind::Prohibited => "prohibited",
            ErrorKind::TooBig(_) => "too-big",
            ErrorKind::Expired => "time-exceeded",
            ErrorKind::Redirect(_) => "redirect",
        }),
        Content::Udp { .. } | Content::Tcp { .. } | Content::Other(..) => None,
    }
}
