//! Figures of one measurement: how many, how fast, how long each took.

use serde_json::{Value, json};
use std::time::Duration;

/// How long each of what was done took.
#[derive(Default)]
pub(crate) struct Figures {
    each: Vec<Duration>,
}

impl Figures {
    pub(crate) fn note(&mut self, took: Duration) {
        self.each.push(took);
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.each.extend(other.each);
    }

    /// As JSON: `count`, `rate` a second over `took`, and `p50`, `p90`, `p99`, `p999` and `max` in microseconds.
    pub(crate) fn tell(mut self, took: Duration) -> Value {
        self.each.sort_unstable();
        let at = |part: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
            let index = (self.each.len().saturating_sub(1) as f64 * part) as usize;
            self.each.get(index).map_or(0.0, |each| each.as_secs_f64() * 1e6)
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let rate = self.each.len() as f64 / took.as_secs_f64();
        json!({
            "count": self.each.len(), "seconds": took.as_secs_f64(), "rate": rate,
            "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0),
        })
    }

    /// As [`Self::tell`], with `busy`: microseconds of processor each, of this process since it had used `before`.
    ///
    /// # Errors
    /// The system does not tell what it has used.
    pub(crate) fn tell_busy(self, took: Duration, before: Duration) -> anyhow::Result<Value> {
        let mut told = self.tell(took);
        let used = busy(std::process::id())?.saturating_sub(before).as_secs_f64() * 1e6;
        told["busy"] = json!(used / told["count"].as_f64().unwrap_or(1.0).max(1.0));
        Ok(told)
    }
}

/// Processor time that a process has used so far, in its own code and in the kernel's for it.
///
/// # Errors
/// There is no such process.
pub(crate) fn busy(pid: u32) -> anyhow::Result<Duration> {
    /// Ticks a second, as Linux counts for user space.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum::<u64>();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// There is no such process.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(kib.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
