//! Intents for tests.
