//! How far a long command has come: one line on a terminal, nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const TEMPLATE: &str = "{bar:30} {human_pos} of {human_len} events, {per_sec}, {eta} left";

/// A bar on standard error; it goes when dropped.
pub struct Progress(ProgressBar);

impl Default for Progress {
    fn default() -> Self {
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is one");
        let bar = ProgressBar::new(0).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(bar)
    }
}

impl Progress {
    /// `done` of `of` events.
    pub fn show(&self, done: u64, of: u64) {
        self.0.set_length(of);
        self.0.set_position(done);
    }

    /// Lets something else be written meanwhile.
    pub fn pause(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
