//! What a kernel has learned of paths: their MTU, and shorter ways.
//!
//! In: a namespace. Out: its routing without that. Never: a route that somebody set touched.

use netlink_packet_route::route::{RouteFlags, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use super::extack::NetlinkError;
use super::netns::Netns;
use super::request::{acknowledged, dump};
use super::sysctl::SysctlError;

/// Write-only: what is written there makes the kernel forget what it learned of IPv4 paths. IPv6 has one too, which no user
/// namespace shows.
const FLUSH: &str = "net.ipv4.route.flush";

/// Why paths could not be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// The sysctl.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A request.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Whether a route of a dump is one that the kernel has learned.
pub(super) fn is_learned(message: &RouteMessage) -> bool {
    message.header.flags.contains(RouteFlags::Cloned)
}

/// Forgets all paths of both families.
///
/// # Errors
/// [`PathsError`].
pub async fn forget(netns: &Netns) -> Result<(), PathsError> {
    netns.sysctl_set(FLUSH, "1")?;
    for message in learned(netns).await? {
        match acknowledged(netns.handle(), RouteNetlinkMessage::DelRoute(message), 0).await {
            Err(error) if error.errno() == Some(Errno::ESRCH) => {}
            done => done?,
        }
    }
    Ok(())
}

/// Those of IPv6. To ask for one of IPv4 to be deleted is to ask for a route of the same destination that somebody set.
async fn learned(netns: &Netns) -> Result<Vec<RouteMessage>, NetlinkError> {
    let mut all = RouteMessage::default();
    all.header.address_family = AddressFamily::Inet6;
    let answers = dump(netns.handle(), RouteNetlinkMessage::GetRoute(all)).await?;
    let routes = answers.into_iter().filter_map(|answer| {
        let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
        Some(message)
    });
    Ok(routes.filter(is_learned).collect())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::IpMtu;
    use socket2::{Domain, Protocol, Socket, Type};
    use tokio::runtime::Builder;

    use super::*;
    use crate::kernel::apply;
    use crate::kernel::links::{self, End};
    use crate::kernel::settle::settle;
    use crate::kernel::testing::done_in_a_sandbox;
    use crate::net::Mac;
    use crate::probe::craft::{Content, Crafted, ErrorKind};

    /// Has a namespace tell itself that a packet of its was too big.
    fn tell(netns: &Netns, own: &str, to: &str) {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let quoted = Crafted {
            macs: (Mac::ZERO, Mac::ZERO),
            addresses: (address(own), address(to)),
            ttl: 63,
            dont_fragment: true,
            content: Content::Echo(true, 7),
        };
        let error = Crafted {
            macs: (Mac::ZERO, Mac::ZERO),
            addresses: (address(own), address(own)),
            ttl: 64,
            dont_fragment: false,
            content: Content::Error(ErrorKind::TooBig(1300), Box::new(quoted)),
        };
        let frame = error.frame().unwrap();
        netns
            .run_in(|| {
                let to = std::net::SocketAddr::new(address(own), 0);
                let whole = Some(Protocol::from(libc::IPPROTO_RAW));
                let socket = Socket::new(Domain::for_address(to), Type::RAW.cloexec(), whole).unwrap();
                socket.send_to(&frame[14..], &to.into()).unwrap();
            })
            .unwrap();
    }

    #[test]
    fn what_was_learned_is_seen_apart_and_forgotten() {
        if done_in_a_sandbox() {
            return;
        }
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let handle = tokio::runtime::Handle::current();
            let one = Netns::create(&handle).unwrap();
            let end = |name, index| End { name, index, mac: Mac::derived("end", name), mtu: 1500 };
            links::veth(&one, end("near", 10), true, &one, end("far", 11)).await.unwrap();
            links::set_up(&one, 11, true).await.unwrap();
            for net in ["10.0.0.1/24", "fd00::1/64"] {
                apply::add_address(&one, 10, &net.parse().unwrap()).await.unwrap();
            }
            // What is learned before the kernel has noted the carrier is forgotten with that.
            one.stir(10);
            settle(&one).await.unwrap();
            let known = async || {
                let connected = |to: &str| {
                    let socket = std::net::UdpSocket::bind("10.0.0.1:0").unwrap();
                    socket.connect((to, 9)).unwrap();
                    getsockopt(&socket, IpMtu).unwrap()
                };
                (one.run_in(|| connected("10.0.0.9")).unwrap(), learned(&one).await.unwrap().len())
            };
            assert_eq!(known().await, (1500, 0));
            tell(&one, "10.0.0.1", "10.0.0.9");
            tell(&one, "fd00::1", "fd00::9");
            assert_eq!(known().await, (1300, 1));
            forget(&one).await.unwrap();
            assert_eq!(known().await, (1500, 0));
            forget(&one).await.unwrap();
        });
    }
}
