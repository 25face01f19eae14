//! Waits until the kernel is done with the namespaces that were given up.

use std::time::Duration;

use dvrlab::kernel::Netns;
use dvrlab::kernel::links::{self, End};
use dvrlab::net::Mac;
use tokio::runtime::{Builder, Runtime};

/// Far more than a lab takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The index of the device that tells.
const MARK: u32 = 1000;
/// The kernel reaps batch after batch. A socket of the last lab may be closed a little after the rest, and its namespace comes
/// with the batch after next.
const BATCHES: u32 = 3;

/// A namespace that stays, in which a device shows that another one is still there.
pub(crate) struct Reaper {
    runtime: Runtime,
    home: Netns,
}

impl Default for Reaper {
    fn default() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
        let home = Netns::create(runtime.handle()).expect("a namespace can be made");
        Self { runtime, home }
    }
}

impl Reaper {
    /// Gives up one more namespace and waits for the end of its device: the kernel takes them in turn.
    pub(crate) fn wait(&self) {
        for _ in 0..BATCHES {
            let last = Netns::create(self.runtime.handle()).expect("a namespace can be made");
            let end = |name, index| End { name, index, mac: Mac::derived("mark", name), mtu: 1500 };
            let (near, far) = (end("near", MARK), end("far", MARK + 1));
            self.runtime.block_on(async {
                let made = links::veth(&self.home, near, false, &last, far).await;
                made.expect("a pair of devices can be made");
                drop(last);
                tokio::time::timeout(LIMIT, self.gone()).await.expect("the kernel reaps in time");
            });
        }
    }

    async fn gone(&self) {
        while links::set_up(&self.home, MARK, false).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
