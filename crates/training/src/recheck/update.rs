//! The update rules of torch's optimizers, written anew from their definitions: what stood at a position before the step
//! and the hyperparameters, to what stands there behind it.
//!
//! Formulas follow the papers as torch's documentation states them (Robbins and Monro with Polyak's and Nesterov's momentum;
//! Duchi 2011; Tieleman and Hinton 2012; Kingma and Ba 2014; Loshchilov and Hutter 2017; Reddi 2018). Each is evaluated on
//! [`Bounds`], so no order of operations is assumed: a fused multiply-add, a loop, `foreach` and the fused kernels all end
//! within. What is not modelled has no [`Class`], and a value that is not told is an error, never a default that would
//! accuse.

use std::collections::BTreeMap;

use super::bounds::{Arithmetic, Bounds};

/// Most columns of state that a rule has.
pub const STATE_MAX: usize = 3;

/// The optimizers whose update is rechecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `torch.optim.SGD`.
    Sgd,
    /// `torch.optim.Adam` and `AdamW`: one rule with two kinds of weight decay.
    Adam,
    /// `torch.optim.Adagrad`.
    Adagrad,
    /// `torch.optim.RMSprop`.
    RmsProp,
    /// `torch.optim.Adamax`.
    Adamax,
    /// Lion, of which torch has none.
    Lion,
    /// `torch.optim.Muon`: its state by its rule, and of its weights how far a step can take them.
    Muon,
}

impl Class {
    /// The class that torch calls `name`, or the rule that is learnt by it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "SGD" => Self::Sgd,
            "Adam" | "AdamW" | "Adam, early eps" | "AdamW, early eps" => Self::Adam,
            "Adagrad" => Self::Adagrad,
            "RMSprop" => Self::RmsProp,
            "Adamax" => Self::Adamax,
            "Lion" => Self::Lion,
            "Muon" => Self::Muon,
            _ => return None,
        })
    }

    /// Its state in the order of [`Before::state`].
    pub const fn state(self) -> &'static [&'static str] {
        match self {
            Self::Sgd | Self::Muon => &["momentum_buffer"],
            Self::Adam => &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
            Self::Adagrad => &["sum"],
            Self::RmsProp => &["square_avg", "momentum_buffer", "grad_avg"],
            Self::Adamax => &["exp_avg", "exp_inf"],
            Self::Lion => &["exp_avg"],
        }
    }

    /// Whether it counts steps in its state.
    pub const fn counts(self) -> bool {
        !matches!(self, Self::Sgd | Self::Lion | Self::Muon)
    }
}

/// The hyperparameters of one parameter group.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(
    missing_docs,
    reason = "each field is the hyperparameter of torch's name"
)]
#[expect(clippy::struct_excessive_bools, reason = "torch's own switches")]
pub struct Hyper {
    pub class: Class,
    pub lr: f64,
    pub weight_decay: f64,
    pub momentum: f64,
    pub dampening: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub alpha: f64,
    pub lr_decay: f64,
    pub nesterov: bool,
    pub maximize: bool,
    pub amsgrad: bool,
    pub decoupled: bool,
    pub centered: bool,
    /// Epsilon is added before the second moment is corrected.
    pub early_eps: bool,
    /// How far a step of Muon's can take a weight, over the learning rate: see [`reach`].
    pub reach: f64,
}

/// A hyperparameter that the rule needs was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its {0} was not told")]
pub struct Untold(pub &'static str);

impl Hyper {
    /// The hyperparameters of an optimizer that torch calls `class`, of which a group told `values`; `None` for a class that
    /// is not modelled.
    ///
    /// # Errors
    /// [`Untold`] names the first value that is needed and missing.
    pub fn new(
        class: &str,
        lr: f64,
        values: &BTreeMap<String, domain::Number>,
    ) -> Option<Result<Self, Untold>> {
        let rule = Class::from_name(class)?;
        let decoupled = class.starts_with("AdamW") || matches!(rule, Class::Lion | Class::Muon);
        let read = Self::read(rule, decoupled, lr, values);
        Some(read.map(|hyper| Self {
            early_eps: class.ends_with("early eps"),
            ..hyper
        }))
    }

    fn read(
        class: Class,
        decoupled: bool,
        lr: f64,
        values: &BTreeMap<String, domain::Number>,
    ) -> Result<Self, Untold> {
        use Class::{Adagrad, Adam, Adamax, Lion, Muon, RmsProp, Sgd};

        let need = |name: &'static str, by: &[Class]| {
            if !by.contains(&class) {
                return Ok(0.0);
            }
            values.get(name).map(|value| value.0).ok_or(Untold(name))
        };
        // Switches that older versions of torch do not have were off there.
        let on = |name: &str| values.get(name).is_some_and(|value| value.0 != 0.0);
        Ok(Self {
            class,
            lr,
            weight_decay: need(
                "weight_decay",
                &[Sgd, Adam, Adagrad, RmsProp, Adamax, Lion, Muon],
            )?,
            momentum: need("momentum", &[Sgd, RmsProp, Muon])?,
            dampening: need("dampening", &[Sgd])?,
            beta1: need("beta1", &[Adam, Adamax, Lion])?,
            beta2: need("beta2", &[Adam, Adamax, Lion])?,
            eps: need("eps", &[Adam, Adagrad, RmsProp, Adamax])?,
            alpha: need("alpha", &[RmsProp])?,
            lr_decay: need("lr_decay", &[Adagrad])?,
            nesterov: on("nesterov"),
            maximize: on("maximize"),
            amsgrad: on("amsgrad"),
            decoupled: decoupled || on("decoupled_weight_decay"),
            centered: on("centered"),
            early_eps: false,
            reach: f64::INFINITY,
        })
    }

    /// Which columns of the state the rule keeps with these switches.
    pub const fn uses(&self) -> [bool; STATE_MAX] {
        match self.class {
            Class::Sgd => [self.momentum != 0.0, false, false],
            Class::Adam => [true, true, self.amsgrad],
            Class::Adagrad | Class::Lion | Class::Muon => [true, false, false],
            Class::RmsProp => [true, self.momentum > 0.0, self.centered],
            Class::Adamax => [true, true, false],
        }
    }
}

/// What stood at one position before a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Before {
    /// The weight.
    pub weight: f64,
    /// The gradient that the step was given.
    pub gradient: f64,
    /// The state, in the order of [`Class::state`]; zeros where there was none.
    pub state: [f64; STATE_MAX],
    /// There was no state: this is the parameter's first step.
    pub fresh: bool,
    /// Steps that the state had counted.
    pub steps: f64,
}

/// What must stand there behind the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct After {
    /// The weight.
    pub weight: Bounds,
    /// The state; `None` for columns that the rule does not keep.
    pub state: [Option<Bounds>; STATE_MAX],
}

/// The step's outcome in the arithmetic `a`.
pub fn expected(before: &Before, hyper: &Hyper, a: &Arithmetic) -> After {
    let mut gradient = Bounds::exact(before.gradient);
    if hyper.maximize {
        gradient = gradient.negated();
    }
    let coupled = hyper.weight_decay != 0.0 && !hyper.decoupled;
    if coupled {
        let weight = Bounds::exact(before.weight);
        gradient = a.add(gradient, a.multiply(a.scalar(hyper.weight_decay), weight));
    }
    with_gradient(gradient, before, hyper, a)
}

/// The step's outcome where what the rule makes of the gradient, with its sign and the decay that goes into it, is `gradient`.
pub(super) fn with_gradient(
    gradient: Bounds,
    before: &Before,
    hyper: &Hyper,
    a: &Arithmetic,
) -> After {
    let weight = Bounds::exact(before.weight);
    match hyper.class {
        Class::Sgd => sgd(weight, gradient, before, hyper, a),
        Class::Adam => adam(weight, gradient, before, hyper, a),
        Class::Adagrad => adagrad(weight, gradient, before, hyper, a),
        Class::RmsProp => rmsprop(weight, gradient, before, hyper, a),
        Class::Adamax => adamax(weight, gradient, before, hyper, a),
        Class::Lion => lion(weight, gradient, before, hyper, a),
        Class::Muon => muon(weight, gradient, before, hyper, a),
    }
}

fn sgd(weight: Bounds, gradient: Bounds, before: &Before, hyper: &Hyper, a: &Arithmetic) -> After {
    let mut direction = gradient;
    let mut buffer = None;
    if hyper.momentum != 0.0 {
        let momentum = a.scalar(hyper.momentum);
        let [old, ..] = before.state;
        // The first buffer is the gradient itself, without dampening.
        let new = if before.fresh {
            gradient
        } else {
            let share = a.multiply(a.scalar(1.0 - hyper.dampening), gradient);
            a.add(a.multiply(momentum, Bounds::exact(old)), share)
        };
        buffer = Some(new);
        direction = if hyper.nesterov {
            a.add(gradient, a.multiply(momentum, new))
        } else {
            new
        };
    }
    After {
        weight: moved(weight, hyper.lr, direction, a),
        state: [buffer, None, None],
    }
}

fn adam(weight: Bounds, gradient: Bounds, before: &Before, hyper: &Hyper, a: &Arithmetic) -> After {
    let [first, second, greatest] = before.state;
    let steps = before.steps + 1.0;
    let weight = if hyper.decoupled && hyper.weight_decay != 0.0 {
        a.multiply(weight, a.scalar(1.0 - hyper.lr * hyper.weight_decay))
    } else {
        weight
    };
    let first = toward(first, gradient, hyper.beta1, a);
    let second = mean_square(second, gradient, hyper.beta2, a);
    let greatest = hyper
        .amsgrad
        .then(|| Bounds::exact(greatest).maximum(second));
    let corrected = a.scalar((1.0 - hyper.beta2.powf(steps)).sqrt());
    let (root, eps) = (a.root(greatest.unwrap_or(second)), a.scalar(hyper.eps));
    let divisor = if hyper.early_eps {
        a.divide(a.add(root, eps), corrected)
    } else {
        a.add(a.divide(root, corrected), eps)
    };
    let direction = a.divide(first, divisor);
    let rate = hyper.lr / (1.0 - hyper.beta1.powf(steps));
    After {
        weight: moved(weight, rate, direction, a),
        state: [Some(first), Some(second), greatest],
    }
}

fn adagrad(
    weight: Bounds,
    gradient: Bounds,
    before: &Before,
    hyper: &Hyper,
    a: &Arithmetic,
) -> After {
    let [sum, ..] = before.state;
    let sum = a.add(Bounds::exact(sum), a.square(gradient));
    let divisor = a.add(a.root(sum), a.scalar(hyper.eps));
    let rate = hyper.lr / (1.0 + before.steps * hyper.lr_decay);
    After {
        weight: moved(weight, rate, a.divide(gradient, divisor), a),
        state: [Some(sum), None, None],
    }
}

fn rmsprop(
    weight: Bounds,
    gradient: Bounds,
    before: &Before,
    hyper: &Hyper,
    a: &Arithmetic,
) -> After {
    let [square, buffer, mean] = before.state;
    let square = mean_square(square, gradient, hyper.alpha, a);
    let mean = hyper
        .centered
        .then(|| toward(mean, gradient, hyper.alpha, a));
    let variance = mean.map_or(square, |mean| a.subtract(square, a.square(mean)));
    let divisor = a.add(a.root(variance), a.scalar(hyper.eps));
    let direction = a.divide(gradient, divisor);
    let buffer = (hyper.momentum > 0.0).then(|| {
        let kept = a.multiply(a.scalar(hyper.momentum), Bounds::exact(buffer));
        a.add(kept, direction)
    });
    After {
        weight: moved(weight, hyper.lr, buffer.unwrap_or(direction), a),
        state: [Some(square), buffer, mean],
    }
}

fn adamax(
    weight: Bounds,
    gradient: Bounds,
    before: &Before,
    hyper: &Hyper,
    a: &Arithmetic,
) -> After {
    let [first, norm, _] = before.state;
    let first = toward(first, gradient, hyper.beta1, a);
    let kept = a.multiply(Bounds::exact(norm), a.scalar(hyper.beta2));
    let norm = kept.maximum(a.add(gradient.absolute(), a.scalar(hyper.eps)));
    let rate = hyper.lr / (1.0 - hyper.beta1.powf(before.steps + 1.0));
    After {
        weight: moved(weight, rate, a.divide(first, norm), a),
        state: [Some(first), Some(norm), None],
    }
}

/// Chen and others 2023: the sign of the momentum as `beta1` has it; `beta2` makes the one that is kept.
fn lion(weight: Bounds, gradient: Bounds, before: &Before, hyper: &Hyper, a: &Arithmetic) -> After {
    let [old, ..] = before.state;
    let weight = if hyper.weight_decay == 0.0 {
        weight
    } else {
        a.multiply(weight, a.scalar(1.0 - hyper.lr * hyper.weight_decay))
    };
    let chosen = toward(old, gradient, hyper.beta1, a);
    let direction = Bounds {
        low: sign(chosen.low),
        high: sign(chosen.high),
    };
    After {
        weight: moved(weight, hyper.lr, direction, a),
        state: [Some(toward(old, gradient, hyper.beta2, a)), None, None],
    }
}

/// Jordan and others 2024: the momentum, made nearly orthogonal. An element of the result follows from all of the matrix; that it is within `reach`
/// follows from none.
fn muon(weight: Bounds, gradient: Bounds, before: &Before, hyper: &Hyper, a: &Arithmetic) -> After {
    let [old, ..] = before.state;
    let buffer = toward(old, gradient, hyper.momentum, a);
    let weight = a.multiply(weight, a.scalar(1.0 - hyper.lr * hyper.weight_decay));
    let weight = weight.widened((hyper.lr * hyper.reach).abs());
    After {
        weight: a.add(weight, Bounds::exact(0.0)),
        state: [Some(buffer), None, None],
    }
}

/// The greatest element that Muon's update of a matrix of `shape` can have, over the learning rate; infinite where its settings, `values`, are not told.
///
/// The matrix is divided by its Frobenius norm, so its singular values begin within 1; each step of the iteration takes them through one odd
/// polynomial of the fifth degree; no element is greater than the greatest singular value. Rounding to `bfloat16` is allowed for at each step.
pub fn reach(shape: &[u64], values: &BTreeMap<String, domain::Number>) -> f64 {
    const GRID: u32 = 1_000;
    const ROUNDING: f64 = 1.03;
    let value = |name: &str| values.get(name).map_or(f64::NAN, |it| it.0);
    let [rows, columns] = shape else {
        return f64::INFINITY;
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "dimensions of a matrix are far below 2^53"
    )]
    let (rows, columns) = (*rows as f64, *columns as f64);
    let [a, b, c] = ["ns_a", "ns_b", "ns_c"].map(value);
    let mut most = ROUNDING;
    let mut left = value("ns_steps").min(100.0);
    if left.is_nan() {
        return f64::INFINITY;
    }
    while left >= 1.0 {
        let at = |number: u32| {
            let x = most * f64::from(number) / f64::from(GRID);
            (a * x + b * x.powi(3) + c * x.powi(5)).abs()
        };
        most = ROUNDING * (0..=GRID).map(at).fold(0.0, f64::max);
        left -= 1.0;
    }
    // As torch adjusts the rate.
    let ratio = match value("adjust") {
        0.0 => (rows / columns).max(1.0).sqrt(),
        1.0 => 0.2 * rows.max(columns).sqrt(),
        2.0 => (rows / columns).sqrt(),
        _ => f64::INFINITY,
    };
    let reach = most * ratio;
    if reach.is_nan() { f64::INFINITY } else { reach }
}

fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// `weight − rate · direction`.
fn moved(weight: Bounds, rate: f64, direction: Bounds, a: &Arithmetic) -> Bounds {
    a.subtract(weight, a.multiply(a.scalar(rate), direction))
}

/// `beta · old + (1 − beta) · new`, in whichever of its three forms: torch's `lerp` changes its form with the weight.
fn toward(old: f64, new: Bounds, beta: f64, a: &Arithmetic) -> Bounds {
    let old = Bounds::exact(old);
    let distance = a.subtract(new, old);
    let from_old = a.add(old, a.multiply(a.scalar(1.0 - beta), distance));
    let kept = a.add(a.scalar(1.0 - (1.0 - beta)), Bounds::exact(0.0));
    let from_new = a.subtract(new, a.multiply(kept, distance));
    let weighed = a.add(
        a.multiply(a.scalar(beta), old),
        a.multiply(a.scalar(1.0 - beta), new),
    );
    from_old.or(from_new).or(weighed)
}

/// `beta · old + (1 − beta) · new²`.
fn mean_square(old: f64, new: Bounds, beta: f64, a: &Arithmetic) -> Bounds {
    let kept = a.multiply(a.scalar(beta), Bounds::exact(old));
    let share = a.multiply(a.scalar(1.0 - beta), a.square(new));
    let sum = a.add(kept, share);
    // A mean of squares: rounding does not make it negative.
    let low = if old >= 0.0 {
        sum.low.max(0.0)
    } else {
        sum.low
    };
    Bounds { low, ..sum }
}
