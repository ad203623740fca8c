//! Windows of time: schedules of a week in a time zone, and ends. Time is handed in, never read from a clock.
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use std::sync::{Arc, LazyLock};

/// UTC nanoseconds.
pub type Instant = i64;

const MINUTES_OF_DAY: u16 = 24 * 60;
/// Days within which every schedule that turns at all turns: three weeks, as a zone may skip a day or an hour.
const HORIZON: i64 = 22;
/// Of one schedule.
const MOST_HOURS: usize = 48;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The zones that come with the program: what a system has installed decides nothing.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Hours of days of the week, as a clock on the wall in the zone shows them.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub name: Box<str>,
    /// Monday first.
    days: [bool; 7],
    /// Minutes of the day, the last excluded. Hours that end before they begin run into the next day.
    hours: Vec<(u16, u16)>,
    zone: TimeZone,
}

/// When something holds: within its schedule and before its end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Window {
    pub schedule: Option<Arc<Schedule>>,
    pub expires: Option<Instant>,
}

/// A window at one time: whether it is open, and when that changes (0 for never).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub open: bool,
    pub turns: Instant,
}

/// Why a schedule cannot be read: in which part of it, and what was expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Unreadable {
    pub part: &'static str,
    pub message: String,
    pub hint: String,
}

impl Schedule {
    /// Days such as `mon` and `sat-sun`, hours such as `09:00-17:30`, a zone of the tz database.
    /// An empty list means all of it, no zone UTC.
    pub fn new(name: &str, days: &[&str], hours: &[&str], zone: &str) -> Result<Self, Unreadable> {
        if hours.len() > MOST_HOURS {
            return Err(unreadable("hours", "too many hours".to_owned(), format!("at most {MOST_HOURS} are read")));
        }
        let mut which = [days.is_empty(); 7];
        for text in days {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (mut day, last) = (weekday(first)?, weekday(last)?);
            which[day] = true;
            while day != last {
                day = (day + 1) % 7;
                which[day] = true;
            }
        }
        let mut spans = hours.iter().map(|text| span(text)).collect::<Result<Vec<_>, _>>()?;
        if spans.is_empty() {
            spans.push((0, MINUTES_OF_DAY));
        }
        Ok(Self { name: name.into(), days: which, hours: spans, zone: time_zone(zone)? })
    }

    pub fn at(&self, now: Instant) -> Now {
        Now { open: self.is_open(now), turns: self.next_turn(now) }
    }

    fn is_open(&self, now: Instant) -> bool {
        let local = self.zone.to_datetime(timestamp(now));
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        let today = local.weekday().to_monday_zero_offset() as usize;
        let (is_day, was_day) = (self.days[today], self.days[(today + 6) % 7]);
        self.hours.iter().any(|(first, last)| match first < last {
            true => is_day && *first <= minute && minute < *last,
            false => (is_day && *first <= minute) || (was_day && minute < *last),
        })
    }

    /// The next time at which the schedule opens or closes, 0 if it never does.
    ///
    /// That can only be where the clock on the wall shows one of its hours, or where the zone changes its offset.
    fn next_turn(&self, now: Instant) -> Instant {
        let open = self.is_open(now);
        let start = timestamp(now);
        let today = self.zone.to_datetime(start).date();
        let end = now.saturating_add(HORIZON * 24 * 3600 * 1_000_000_000);
        let mut turns: Vec<Instant> = Vec::new();
        for day in -1..=HORIZON {
            let Ok(date) = today.checked_add(Span::new().days(day)) else { continue };
            for (first, last) in &self.hours {
                self.instants(date, *first, &mut turns);
                self.instants(date, *last, &mut turns);
            }
        }
        let jumps = self.zone.following(start).map(|jump| instant(jump.timestamp()));
        turns.extend(jumps.take_while(|at| *at <= end));
        turns.retain(|at| *at > now);
        turns.sort_unstable();
        turns.into_iter().find(|at| self.is_open(*at) != open).unwrap_or(0)
    }

    /// When the clock on the wall shows a minute of a day: once, twice, or not at all.
    fn instants(&self, date: Date, minute: u16, found: &mut Vec<Instant>) {
        let (date, minute) = match minute {
            MINUTES_OF_DAY => (date.tomorrow().unwrap_or(date), 0),
            minute => (date, minute),
        };
        let time = Time::constant((minute / 60) as i8, (minute % 60) as i8, 0, 0);
        let local = DateTime::from_parts(date, time);
        let mut push = |offset: jiff::tz::Offset| found.extend(offset.to_timestamp(local).ok().map(instant));
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => push(offset),
            AmbiguousOffset::Fold { before, after } => {
                push(before);
                push(after);
            }
            AmbiguousOffset::Gap { .. } => {}
        }
    }
}

impl Window {
    pub fn is_open(&self, now: Instant) -> bool {
        self.expires.is_none_or(|end| now < end) && self.schedule.as_ref().is_none_or(|hours| hours.is_open(now))
    }

    pub fn at(&self, now: Instant) -> Now {
        self.within(now, |schedule| schedule.at(now))
    }

    /// The same where it is known how schedules stand.
    pub fn within(&self, now: Instant, schedule: impl FnOnce(&Arc<Schedule>) -> Now) -> Now {
        if self.expires.is_some_and(|end| end <= now) {
            return Now { open: false, turns: 0 };
        }
        let Now { open, turns } = self.schedule.as_ref().map_or(Now { open: true, turns: 0 }, schedule);
        match self.expires {
            Some(end) if turns == 0 || end <= turns => Now { open, turns: if open { end } else { 0 } },
            _ => Now { open, turns },
        }
    }
}

/// An RFC 3339 time such as `2026-12-01T00:00:00Z`.
pub fn parse_time(text: &str) -> Option<Instant> {
    let at: Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok().filter(|at| *at > 0)
}

fn timestamp(at: Instant) -> Timestamp {
    Timestamp::from_nanosecond(at.into()).expect("64 bits of nanoseconds lie within the calendar")
}

fn instant(at: Timestamp) -> Instant {
    at.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into()) as Instant
}

fn unreadable(part: &'static str, message: String, hint: impl Into<String>) -> Unreadable {
    Unreadable { part, message, hint: hint.into() }
}

fn weekday(text: &str) -> Result<usize, Unreadable> {
    let day = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text.trim()));
    day.ok_or_else(|| unreadable("days", format!("{text:?} is not a day"), format!("expected {}", DAYS.join(", "))))
}

fn span(text: &str) -> Result<(u16, u16), Unreadable> {
    let wrong = || unreadable("hours", format!("{text:?} are not hours"), "expected such as 09:00-17:30");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (first, last) = (minute(first).ok_or_else(wrong)?, minute(last).ok_or_else(wrong)?);
    if first == last || first == MINUTES_OF_DAY {
        return Err(wrong());
    }
    Ok((first, last))
}

/// `HH:MM` as minutes of the day, up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (hours, minutes): (u16, u16) =
        (two(hours).then(|| hours.parse().ok())??, two(minutes).then(|| minutes.parse().ok())??);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= MINUTES_OF_DAY).then_some(all)
}

fn time_zone(name: &str) -> Result<TimeZone, Unreadable> {
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    ZONES.get(name).map_err(|_| {
        let known: Vec<String> = ZONES.available().map(|name| name.as_str().to_owned()).collect();
        let hint = match crate::error::nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "expected such as Europe/Berlin or UTC".to_owned(),
        };
        unreadable("zone", format!("{name:?} is not a time zone"), hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        parse_time(text).unwrap()
    }

    fn window(days: &[&str], hours: &[&str], zone: &str) -> Window {
        Window { schedule: Some(Arc::new(Schedule::new("s", days, hours, zone).unwrap())), expires: None }
    }

    fn turn(window: &Window, now: Instant) -> Instant {
        window.at(now).turns
    }

    #[test]
    fn office_hours_follow_the_clock_on_the_wall() {
        let office = window(&["mon-fri"], &["09:00-17:30"], "Europe/Berlin");
        assert!(office.is_open(at("2026-03-27T08:00:00Z")));
        assert_eq!(turn(&office, at("2026-03-27T08:00:00Z")), at("2026-03-27T16:30:00Z"));
        // The clocks go forward on Sunday the 29th, so Monday begins an hour earlier.
        assert_eq!(turn(&office, at("2026-03-27T16:30:00Z")), at("2026-03-30T07:00:00Z"));
    }

    #[test]
    fn an_hour_that_a_night_does_not_have_opens_at_the_jump() {
        let night = window(&[], &["02:30-03:30"], "Europe/Berlin");
        assert_eq!(turn(&night, at("2026-03-29T00:00:00Z")), at("2026-03-29T01:00:00Z"));
        assert_eq!(turn(&night, at("2026-03-29T01:00:00Z")), at("2026-03-29T01:30:00Z"));
    }

    #[test]
    fn an_hour_that_a_night_has_twice_opens_twice() {
        let night = window(&[], &["02:00-02:30"], "Europe/Berlin");
        let mut turns = vec![at("2026-10-24T23:00:00Z")];
        for _ in 0..4 {
            turns.push(turn(&night, *turns.last().unwrap()));
        }
        let expected = ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"];
        assert_eq!(turns[1..], expected.map(at));
    }

    #[test]
    fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
        let watch = window(&["fri"], &["22:00-06:00"], "UTC");
        assert_eq!(turn(&watch, at("2026-11-20T00:00:00Z")), at("2026-11-20T22:00:00Z"));
        assert!(watch.is_open(at("2026-11-21T05:59:59Z")) && !watch.is_open(at("2026-11-20T05:00:00Z")));
        assert_eq!(turn(&watch, at("2026-11-20T22:00:00Z")), at("2026-11-21T06:00:00Z"));
    }

    #[test]
    fn what_never_turns_says_so() {
        assert_eq!(window(&[], &["00:00-24:00"], "").at(5), Now { open: true, turns: 0 });
        let ended = Window { schedule: None, expires: Some(7) };
        assert_eq!(ended.at(6), Now { open: true, turns: 7 });
        assert_eq!(ended.at(7), Now { open: false, turns: 0 });
        let closed_till_its_end = Window { expires: Some(at("2026-11-20T05:00:00Z")), ..window(&["sat"], &[], "UTC") };
        assert_eq!(closed_till_its_end.at(at("2026-11-20T01:00:00Z")), Now { open: false, turns: 0 });
    }
}
