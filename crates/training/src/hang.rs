//! Ranks that go on no more: which of them the others wait for.
//!
//! Ranks that train one model pass through the same phases in the same order and meet in collective calls, so who has come least far is
//! whom the others wait for; and where most have come least far, the few that are ahead have left a call out. Nothing is
//! decided by time here: that nobody moves is the caller's to see.

/// How far a rank has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which rank.
    pub rank: u32,
    /// Optimizer steps that it made, and phases since the last.
    pub progress: (u64, u64),
    /// It, or a process that it started, works meanwhile.
    pub works: bool,
}

/// Why nobody goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hang {
    /// These have not come as far as the others, and do nothing.
    Behind(Vec<u32>),
    /// These have gone on, and most others do nothing where they are.
    Ahead(Vec<u32>),
    /// All have come equally far, and none does anything.
    Together,
    /// These are what the others wait for, and they work.
    Works(Vec<u32>),
}

/// Judges the places of ranks that stand still; `None` if there are fewer than two.
pub fn judge(places: &[Place]) -> Option<Hang> {
    if places.len() < 2 {
        return None;
    }
    let least = places.iter().map(|it| it.progress).min()?;
    let (behind, ahead): (Vec<&Place>, Vec<&Place>) =
        places.iter().partition(|it| it.progress == least);
    let ranks = |places: &[&Place]| places.iter().map(|it| it.rank).collect::<Vec<u32>>();
    let working: Vec<&Place> = behind.iter().filter(|it| it.works).copied().collect();
    Some(if !working.is_empty() {
        Hang::Works(ranks(&working))
    } else if ahead.is_empty() {
        Hang::Together
    } else if ahead.len() < behind.len() {
        Hang::Ahead(ranks(&ahead))
    } else {
        Hang::Behind(ranks(&behind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(rank: u32, steps: u64, phases: u64) -> Place {
        Place {
            rank,
            progress: (steps, phases),
            works: false,
        }
    }

    #[test]
    fn who_has_come_least_far_is_whom_the_others_wait_for() {
        let places = [place(0, 7, 3), place(1, 7, 1), place(2, 7, 3)];
        assert_eq!(judge(&places), Some(Hang::Behind(vec![1])));
        // A step earlier is less far than any phase.
        let places = [place(0, 7, 0), place(1, 6, 5)];
        assert_eq!(judge(&places), Some(Hang::Behind(vec![1])));
    }

    #[test]
    fn the_few_that_went_on_left_something_out() {
        let places = [place(0, 7, 3), place(1, 8, 3), place(2, 7, 3)];
        assert_eq!(judge(&places), Some(Hang::Ahead(vec![1])));
    }

    #[test]
    fn who_works_does_not_hang_and_nobody_is_behind_where_all_are_equal() {
        let mut places = [place(0, 7, 3), place(1, 7, 3)];
        assert_eq!(judge(&places), Some(Hang::Together));
        places[1].works = true;
        assert_eq!(judge(&places), Some(Hang::Works(vec![1])));
        // Those ahead may spin while they wait.
        places[1].progress = (7, 4);
        assert_eq!(judge(&places), Some(Hang::Behind(vec![0])));
        assert_eq!(judge(&places[..1]), None);
    }
}
