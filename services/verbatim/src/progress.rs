//! How far a long command has come: one line on a terminal, nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const EVENTS: &str = "{bar:30} {human_pos} of {human_len} events, {per_sec}, {eta} left";
const BYTES: &str = "{msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// A bar on standard error; it goes when dropped.
pub struct Progress(ProgressBar);

impl Default for Progress {
    fn default() -> Self {
        Self::new(EVENTS)
    }
}

impl Progress {
    /// Of a file that is gone through.
    pub fn bytes(doing: &'static str) -> Self {
        let bar = Self::new(BYTES);
        bar.0.set_message(doing);
        bar
    }

    fn new(template: &str) -> Self {
        let style = ProgressStyle::with_template(template).expect("the template is one");
        Self(ProgressBar::new(0).with_style(style))
    }

    /// `done` of `of` events, or bytes.
    pub fn show(&self, done: u64, of: u64) {
        if self.0.length() == Some(0) {
            // Not before it is known how far it is.
            self.0.enable_steady_tick(Duration::from_millis(500));
        }
        self.0.set_length(of);
        self.0.set_position(done);
    }

    /// Lets something else be written meanwhile.
    pub fn pause<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.0.length() == Some(0) {
            // It isn't shown yet.
            return write();
        }
        self.0.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
