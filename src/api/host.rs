//! Agents: what they are configured with, and what they run with since their last start.

use super::intent::{Intent, Rejected, RejectedKind};
use super::resource::{AgentMode, Host, Settings};
use crate::name::HostName;

impl Intent {
    fn known_host_mut(&mut self, name: &HostName) -> Result<&mut Host, Rejected> {
        let unknown = || Rejected::new(RejectedKind::InvalidInput, format!("there is no host {name}"));
        self.hosts.get_mut(name).ok_or_else(unknown)
    }

    /// The agent reads its configuration.
    pub(super) fn restart_agent(&mut self, name: &HostName) -> Result<(), Rejected> {
        let host = self.known_host_mut(name)?;
        host.mode = host.next_mode.take().unwrap_or(host.mode);
        host.running = None;
        Ok(())
    }

    pub(super) fn configure_mode(&mut self, name: &HostName, mode: AgentMode) -> Result<(), Rejected> {
        let host = self.known_host_mut(name)?;
        host.next_mode = (mode != host.mode).then_some(mode);
        Ok(())
    }

    pub(super) fn configure(&mut self, settings: Settings) {
        for host in self.hosts.values_mut() {
            host.running.get_or_insert(self.settings);
        }
        self.settings = settings;
    }

    /// The options with which a host's agent runs.
    pub fn settings_of(&self, host: &HostName) -> Settings {
        self.hosts.get(host).and_then(|found| found.running).unwrap_or(self.settings)
    }
}
