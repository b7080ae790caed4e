//! The rule of an optimizer that is not torch's own, learnt from what it does.
//!
//! Many programs carry an `AdamW` or a `Lion` of their own. Which rules it may follow is guessed from its hyperparameters' names; each
//! guess is judged at every step, and one wrong position ends it. What fitted many steps is what it is held to from then on. What
//! fits none of them is not judged at all.

use super::judge::Verdict;

/// Steps that a rule must have fitted, each with positions that could have shown otherwise. More than the period of optimizers that do
/// something else now and then.
pub const STEPS: u32 = 32;

/// Rules that an optimizer `like` one of torch's may follow.
pub fn guesses(like: &str) -> &'static [&'static str] {
    match like {
        "Adam" => &["AdamW", "Adam", "AdamW, early eps", "Adam, early eps"],
        "SGD" => &["SGD"],
        "RMSprop" => &["RMSprop"],
        "Adagrad" => &["Adagrad"],
        "Lion" => &["Lion"],
        _ => &[],
    }
}

/// What is known of the rule of one parameter group.
#[derive(Debug, Clone)]
pub struct Trial {
    left: Vec<&'static str>,
    fitted: u32,
}

impl Trial {
    /// Nothing yet.
    pub fn new(like: &str) -> Self {
        Self {
            left: guesses(like).to_vec(),
            fitted: 0,
        }
    }

    /// The rule that it has learnt.
    pub fn rule(&self) -> Option<&'static str> {
        self.left.first().copied().filter(|_| self.fitted >= STEPS)
    }

    /// Whether it follows none that is known.
    pub fn is_lost(&self) -> bool {
        self.left.is_empty()
    }

    /// A step was made: `judged` answers what follows for it from each rule.
    pub fn step(&mut self, judged: impl Fn(&str) -> Verdict) {
        if self.rule().is_some() {
            return;
        }
        let mut showed = false;
        self.left.retain(|rule| {
            let verdict = judged(rule);
            showed |= verdict.decisive > 0;
            verdict.cause.is_none()
        });
        self.fitted += u32::from(showed && !self.left.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recheck::judge::Cause;

    fn verdict(wrong: bool) -> Verdict {
        Verdict {
            decisive: 3,
            cause: wrong.then_some(Cause::Still),
            ..Verdict::default()
        }
    }

    #[test]
    fn what_fits_many_steps_is_the_rule() {
        let mut trial = Trial::new("Adam");
        for _ in 0..STEPS {
            assert_eq!(trial.rule(), None);
            trial.step(|rule| verdict(rule != "Adam"));
        }
        assert_eq!(trial.rule(), Some("Adam"));
        // From now on a step that does not fit is the step's fault.
        trial.step(|_| verdict(true));
        assert_eq!(trial.rule(), Some("Adam"));
    }

    #[test]
    fn steps_that_could_show_nothing_prove_nothing_and_one_wrong_one_ends_it() {
        let mut trial = Trial::new("SGD");
        for _ in 0..100 {
            trial.step(|_| Verdict::default());
        }
        assert_eq!(trial.rule(), None);
        trial.step(|_| verdict(true));
        assert!(trial.is_lost() && trial.rule().is_none());
        assert!(Trial::new("Muon").is_lost());
    }
}
