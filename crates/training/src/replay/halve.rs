//! Halving: the first bad one of an ordered row, and which of several differences bring something about.
//!
//! What an answer costs is a replay, so as few as possible are asked for: what follows from other answers is not asked, and held against one
//! more question at the end.

/// What a question came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As it should be.
    Good,
    /// It shows what is looked for.
    Bad,
    /// It says neither.
    CannotTest,
}

/// The first bad one of `count` that stand in a row, where all behind a bad one are bad; `None` if none is. What cannot be tested is passed over
/// towards the later ones.
pub fn first_bad<E>(
    count: usize,
    mut ask: impl FnMut(usize) -> Result<Answer, E>,
) -> Result<Option<usize>, E> {
    let (mut from, mut to, mut found) = (0, count, None);
    while from < to {
        let middle = from + (to - from) / 2;
        // The last one is asked for like every other: nobody knows that it is bad.
        let mut at = middle;
        let answer = loop {
            match ask(at)? {
                Answer::CannotTest if at + 1 < to => at += 1,
                answer => break answer,
            }
        };
        match answer {
            Answer::Bad => {
                found = Some(at);
                to = middle;
            }
            Answer::Good => from = at + 1,
            // Nothing from the middle on can be tested.
            Answer::CannotTest => to = middle,
        }
    }
    Ok(found)
}

/// Which of several differences bring the bad one about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// The fewest that were found to suffice; empty where not even all of them do.
    pub items: Vec<usize>,
    /// What all others do without them: good, if these are needed; not asked where there are no others.
    pub others: Option<Answer>,
    /// What all of them together do.
    pub all: Option<Answer>,
}

/// Finds the fewest of `count` differences that bring the bad one about. `ask` is given those that are there, ascending, and is asked nothing
/// twice.
pub fn cause<E>(
    count: usize,
    mut ask: impl FnMut(&[usize]) -> Result<Answer, E>,
) -> Result<Cause, E> {
    let mut set: Vec<usize> = (0..count).collect();
    let mut cause = Cause::default();
    if count == 0 {
        return Ok(cause);
    }
    let all = ask(&set)?;
    cause.all = Some(all);
    if all != Answer::Bad {
        return Ok(cause);
    }
    // Of two halves one is asked for; that it is the other one then, is held against a question of its own.
    let (mut known, mut asked_bad) = (set.clone(), true);
    let mut careful = false;
    loop {
        if set.len() < 2 {
            if asked_bad || ask(&set)? == Answer::Bad {
                break;
            }
            // It takes several of them: from the fewest that are known to suffice on, both halves are asked for.
            (set, careful) = (known.clone(), true);
            asked_bad = true;
        }
        let (one, other) = set.split_at(set.len() / 2);
        let (one, other) = (one.to_vec(), other.to_vec());
        if ask(&one)? == Answer::Bad {
            (known, asked_bad) = (one.clone(), true);
            set = one;
        } else if !careful {
            asked_bad = false;
            set = other;
        } else if ask(&other)? == Answer::Bad {
            known.clone_from(&other);
            set = other;
        } else {
            set = fewest(set, &mut ask)?;
            break;
        }
    }
    let others: Vec<usize> = (0..count).filter(|item| !set.contains(item)).collect();
    if !others.is_empty() {
        cause.others = Some(ask(&others)?);
    }
    cause.items = set;
    Ok(cause)
}

/// Takes away one after the other what is not needed. Of many that is left undone: it would be asked for too often.
fn fewest<E>(
    mut set: Vec<usize>,
    ask: &mut impl FnMut(&[usize]) -> Result<Answer, E>,
) -> Result<Vec<usize>, E> {
    const MOST: usize = 8;
    let mut at = 0;
    while at < set.len() && set.len() <= MOST {
        let mut less = set.clone();
        less.remove(at);
        if !less.is_empty() && ask(&less)? == Answer::Bad {
            set = less;
        } else {
            at += 1;
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    type Told<T> = Result<T, std::convert::Infallible>;

    proptest! {
        #[test]
        fn the_first_bad_one_is_found_in_as_many_questions_as_its_number_has_digits(count in 1usize..200, first in 0usize..250) {
            let asked = Cell::new(0);
            let found: Told<_> = first_bad(count, |at| {
                asked.set(asked.get() + 1);
                Ok(if at >= first { Answer::Bad } else { Answer::Good })
            });
            prop_assert_eq!(found.unwrap(), (first < count).then_some(first));
            prop_assert!(asked.get() <= count.ilog2() + 1);
        }

        #[test]
        fn one_cause_among_many_is_found_and_confirmed(count in 1usize..100, which in 0usize..100) {
            let which = which % count;
            let asked = Cell::new(0);
            let found: Told<_> = cause(count, |there| {
                asked.set(asked.get() + 1);
                Ok(if there.contains(&which) { Answer::Bad } else { Answer::Good })
            });
            let others = (count > 1).then_some(Answer::Good);
            prop_assert_eq!(found.unwrap(), Cause { items: vec![which], others, all: Some(Answer::Bad) });
            // All, each halving, the one alone, the others.
            prop_assert!(asked.get() <= count.next_power_of_two().ilog2() + 3);
        }

        #[test]
        fn two_that_act_together_are_found_together(count in 2usize..40, one in 0usize..40, other in 0usize..40) {
            let one = one % (count - 1);
            let other = one + 1 + other % (count - one - 1);
            let found: Told<_> = cause(count, |there| {
                let both = there.contains(&one) && there.contains(&other);
                Ok(if both { Answer::Bad } else { Answer::Good })
            });
            let found = found.unwrap();
            prop_assert!(found.items.contains(&one) && found.items.contains(&other));
            if count <= 8 {
                prop_assert_eq!(found.items, vec![one, other]);
            }
        }
    }

    #[test]
    fn what_all_together_do_not_bring_about_has_no_cause_among_them() {
        let found: Told<_> = cause(5, |_| Ok(Answer::Good));
        let found = found.unwrap();
        assert_eq!((found.items.len(), found.all), (0, Some(Answer::Good)));
        let none: Told<_> = cause(0, |_| Ok(Answer::Bad));
        assert_eq!(none.unwrap(), Cause::default());
    }

    #[test]
    fn what_cannot_be_tested_is_passed_over() {
        let found: Told<_> = first_bad(9, |at| {
            Ok(match at {
                4 | 5 => Answer::CannotTest,
                at if at >= 6 => Answer::Bad,
                _ => Answer::Good,
            })
        });
        assert_eq!(found.unwrap(), Some(6));
        let none: Told<_> = first_bad(3, |_| Ok(Answer::CannotTest));
        assert_eq!(none.unwrap(), None);
    }

    #[test]
    fn two_that_each_suffice_show_in_what_the_others_do() {
        let found: Told<_> = cause(4, |there| {
            let bad = there.contains(&0) || there.contains(&3);
            Ok(if bad { Answer::Bad } else { Answer::Good })
        });
        let found = found.unwrap();
        assert_eq!((found.items, found.others), (vec![0], Some(Answer::Bad)));
    }
}
