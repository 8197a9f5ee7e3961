//! How long new objects wait while their namespace is being restored from a backup, whose objects are created in any order.
//!
//! Without it, a Certificate that is restored before its Secret would be issued again. Knows times; must not know how a restoration is
//! noticed, which `controllers/watches.rs` does.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How long after one object of a backup the next one may follow.
const NEXT_OBJECT: SignedDuration = SignedDuration::from_secs(10);

/// The age from which an object no longer waits.
const LONGEST: SignedDuration = SignedDuration::from_mins(2);

/// Whether more objects of a backup may follow one that was created at a time.
pub fn may_continue(restored: Timestamp, now: Timestamp) -> bool {
    now.duration_since(restored) < NEXT_OBJECT
}

/// How long an object waits that was created at a time. `restored` is when an object of a backup was last created in the namespace.
///
/// ```
/// use std::time::Duration;
///
/// use jiff::Timestamp;
/// use operator::decision::restoration;
///
/// let now = Timestamp::from_second(1000)?;
/// let restored = Some(Timestamp::from_second(996)?);
/// assert_eq!(restoration::wait(restored, now, now), Some(Duration::from_secs(6)));
/// assert_eq!(restoration::wait(None, now, now), None);
/// let old = Timestamp::from_second(10)?;
/// assert_eq!(restoration::wait(restored, old, now), None);
/// # Ok::<(), jiff::Error>(())
/// ```
pub fn wait(restored: Option<Timestamp>, created: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = restored?.checked_add(NEXT_OBJECT).ok()?.duration_since(now);
    let is_new = now.duration_since(created) < LONGEST;
    Duration::try_from(left).ok().filter(|left| is_new && !left.is_zero())
}
