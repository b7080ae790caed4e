//! Batches as loaders read them, judged as they come: the order against what it follows from, samples against earlier passes.
//!
//! The arithmetic is `training::data`'s. Here is what is remembered of each process: the order of its passes under way, and its
//! data sets. All of it is claimed by the process itself; `docs/steps.md` says what that is worth.

mod words;

use std::collections::{BTreeMap, HashMap};

use domain::data::{Column, Pass, Reading};
use domain::{Rule, StepRecord};
use training::data::order::{self, NotDerived};
use training::data::samples::{self, Changed, Repeats};
use training::data::wire;

use super::event::Connection;
use super::once::About;
use super::recorder::Recorder;

/// Passes of one process that are remembered, and indices in their orders; the one that was not read from for longest goes.
const PASSES_MAX: usize = 32;
const ORDERS_MAX: usize = 8 << 20;
/// Data sets of one process that are remembered.
const SETS_MAX: usize = 256;
/// Processes of a run whose data is judged, and samples that are remembered of all of them.
const PROCESSES_MAX: usize = 1_000;
const SAMPLES_MAX: usize = 4 << 20;
/// Letters of a name.
const NAME_MAX: usize = 80;

/// All that is known of the data of a run.
#[derive(Default)]
pub(super) struct Readings {
    known: HashMap<Connection, Known>,
}

/// What one process read.
#[derive(Default)]
struct Known {
    passes: BTreeMap<u32, Under>,
    /// Batches that were heard of.
    batches: u64,
    sets: HashMap<u32, Set>,
}

/// A pass under way.
struct Under {
    described: Pass,
    order: Result<Vec<u32>, NotDerived>,
    columns: Vec<Column>,
    repeats: Repeats,
    /// The last batch of it, among all of the process.
    last: u64,
}

/// A data set.
#[derive(Default)]
struct Set {
    columns: Vec<Column>,
    samples: Vec<samples::Column>,
}

/// A batch whose indices are not those of the order.
struct Departed {
    asked: Vec<i64>,
    derived: Vec<u32>,
}

/// What was found in one batch.
enum Found {
    Order(Departed),
    Repeated(usize),
    Changed(Column, Changed),
}

impl Under {
    fn new(described: Pass) -> Self {
        Self {
            order: order::derive(&described),
            described,
            columns: Vec::new(),
            repeats: Repeats::default(),
            last: 0,
        }
    }

    /// Indices that are remembered.
    fn length(&self) -> usize {
        self.order.as_ref().map_or(0, Vec::len)
    }

    /// Whether the batch is where the order has it.
    fn departed(&self, batch: u64, asked: &[i64]) -> Option<Departed> {
        let order = self.order.as_ref().ok()?;
        let size = usize::try_from(self.described.batch_size).ok()?;
        let start = usize::try_from(batch).ok()?.checked_mul(size)?;
        // What comes behind a whole permutation is drawn later and is not known.
        let derived = order.get(start..)?;
        let derived = derived.get(..asked.len()).unwrap_or(derived);
        let same = derived
            .iter()
            .zip(asked)
            .all(|(one, two)| i64::from(*one) == *two);
        (!same && asked.len() <= size).then(|| Departed {
            asked: asked.to_vec(),
            derived: derived.to_vec(),
        })
    }
}

impl Set {
    /// Takes rows in; columns of another form are other columns, and begin anew.
    fn visit(
        &mut self,
        columns: &[Column],
        rows: &[wire::Row],
        step: u64,
    ) -> Vec<(Column, Changed)> {
        if self.columns != columns {
            self.columns = columns.to_vec();
            self.samples.clear();
            self.samples
                .resize_with(columns.len(), samples::Column::default);
        }
        let changed = samples::visit(&mut self.samples, rows, step);
        let named = changed.into_iter();
        named
            .filter_map(|(number, changed)| Some((self.columns.get(number)?.clone(), changed)))
            .collect()
    }
}

impl Known {
    fn begin(&mut self, number: u32, described: Pass) {
        let under = Under::new(described);
        let mut indices = under.length();
        indices += self.passes.values().map(Under::length).sum::<usize>();
        while self.passes.len() >= PASSES_MAX || indices > ORDERS_MAX {
            let oldest = self.passes.iter().min_by_key(|(_, it)| it.last);
            let Some(number) = oldest.map(|(number, _)| *number) else {
                break;
            };
            indices -= self.passes.remove(&number).map_or(0, |it| it.length());
        }
        self.passes.insert(number, under);
    }

    /// What is found in a batch; an error says why it was not judged.
    fn judge(&mut self, reading: &Reading, step: u64) -> Result<Vec<Found>, String> {
        if let Some(described) = &reading.described {
            self.begin(reading.pass, (**described).clone());
        }
        let Some(under) = self.passes.get_mut(&reading.pass) else {
            return Err("its pass was not told, or too many are under way".to_owned());
        };
        self.batches += 1;
        under.last = self.batches;
        if let Some(columns) = &reading.columns {
            under.columns = columns
                .iter()
                .take(wire::COLUMNS_MAX)
                .cloned()
                .map(short)
                .collect();
        }
        let asked = wire::read_indices(&reading.indices);
        let rows = wire::read_rows(&reading.rows, under.columns.len());
        let (Some(asked), Some(rows)) = (asked, rows) else {
            return Err("what was told of it cannot be read".to_owned());
        };
        let mut found: Vec<Found> = under
            .departed(reading.batch, &asked)
            .map(Found::Order)
            .into_iter()
            .collect();
        if let Err(why) = &under.order
            && found.is_empty()
        {
            found.extend(under.repeats.batch(&asked).map(Found::Repeated));
            if *why != NotDerived::Sampler {
                return Err(why.to_string());
            }
        }
        if !rows.is_empty() {
            let remembered: usize = self
                .sets
                .values()
                .flat_map(|set| &set.samples)
                .map(samples::Column::remembered)
                .sum();
            let number = under.described.set;
            let full = self.sets.len() >= SETS_MAX && !self.sets.contains_key(&number);
            if full || remembered > SAMPLES_MAX {
                return Err("more samples were read than are remembered".to_owned());
            }
            let set = self.sets.entry(number).or_default();
            let changed = set.visit(&under.columns, &rows, step);
            found.extend(
                changed
                    .into_iter()
                    .map(|(column, changed)| Found::Changed(column, changed)),
            );
        }
        Ok(found)
    }
}

impl Recorder<'_> {
    /// A step was told: the batches that were read before it are judged.
    pub(super) fn heard_readings(&mut self, connection: Connection, step: &StepRecord) {
        for reading in &step.readings {
            let full = self.readings.known.len() >= PROCESSES_MAX;
            if full && !self.readings.known.contains_key(&connection) {
                return self.gap_once(
                    connection,
                    "order of batches",
                    "too many processes read data",
                );
            }
            let known = self.readings.known.entry(connection).or_default();
            match known.judge(reading, step.step) {
                Ok(found) => {
                    for found in found {
                        self.found_in_batch(connection, step, reading, &found);
                    }
                }
                Err(why) => self.gap_once(connection, "order of some batches", &why),
            }
        }
    }

    fn found_in_batch(
        &mut self,
        connection: Connection,
        step: &StepRecord,
        reading: &Reading,
        found: &Found,
    ) {
        let (rule, cause) = match found {
            Found::Order(_) => (Rule::BatchOrderDiffers, "order"),
            Found::Repeated(_) => (Rule::BatchRepeated, "repeated"),
            Found::Changed(..) => (Rule::SampleChanged, "changed"),
        };
        let about = About {
            rule,
            cause,
            optimizer: 0,
        };
        self.tell_once(connection, about, step, |recorder, rank| {
            let known = recorder.readings.known.get(&connection)?;
            let under = known.passes.get(&reading.pass)?;
            let mut finding = words::finding(rule, &under.described, reading, found);
            finding.step.get_or_insert(step.step);
            finding.rank = rank;
            Some(finding)
        });
    }
}

fn short(column: Column) -> Column {
    let cut = |text: String| text.chars().take(NAME_MAX).collect();
    Column {
        name: cut(column.name),
        kind: cut(column.kind),
        bytes: column.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::data::Order;

    fn reading(batch: u64, indices: &[i64], described: Option<Order>) -> Reading {
        Reading {
            pass: 0,
            described: described.map(|order| {
                Box::new(Pass {
                    set: 0,
                    batch_size: 2,
                    order,
                    known: Vec::new(),
                    workers: true,
                })
            }),
            batch,
            indices: wire::write_indices(indices),
            columns: None,
            rows: String::new(),
        }
    }

    fn order(length: u64) -> Order {
        Order::Sequential { length }
    }

    #[test]
    fn a_batch_out_of_order_is_found_and_one_in_order_is_not() {
        let mut known = Known::default();
        assert!(
            known
                .judge(&reading(0, &[0, 1], Some(order(5))), 1)
                .unwrap()
                .is_empty()
        );
        assert!(known.judge(&reading(2, &[4], None), 2).unwrap().is_empty());
        let found = known.judge(&reading(1, &[3, 2], None), 3).unwrap();
        assert!(
            matches!(&found[..], [Found::Order(Departed { asked, derived })] if asked == &[3, 2] && derived == &[2, 3])
        );
        // Behind the end nothing is known.
        assert!(
            known
                .judge(&reading(9, &[7, 7], None), 4)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_is_no_record_is_refused_and_nothing_is_remembered_without_bound() {
        let mut known = Known::default();
        assert!(known.judge(&reading(0, &[0], None), 1).is_err());
        let mut odd = reading(0, &[0, 1], Some(order(5)));
        odd.indices = "!".to_owned();
        assert!(known.judge(&odd, 1).is_err());
        for pass in 0..100 {
            let mut next = reading(0, &[0, 1], Some(order(5)));
            next.pass = pass;
            known.judge(&next, 1).unwrap();
        }
        assert_eq!(known.passes.len(), PASSES_MAX);
        for pass in 100..104 {
            let mut long = reading(0, &[0, 1], Some(order(4 << 20)));
            long.pass = pass;
            known.judge(&long, 1).unwrap();
        }
        let indices: usize = known.passes.values().map(Under::length).sum();
        assert!(indices <= ORDERS_MAX);
    }

    #[test]
    fn a_pass_that_is_read_from_outlives_many_short_ones() {
        let mut known = Known::default();
        known
            .judge(&reading(0, &[0, 1], Some(order(500))), 1)
            .unwrap();
        for pass in 1..100_u32 {
            let mut short = reading(0, &[0, 1], Some(order(2)));
            short.pass = pass;
            known.judge(&short, 1).unwrap();
            let start = i64::from(pass) * 2;
            known
                .judge(&reading(pass.into(), &[start, start + 1], None), 1)
                .unwrap();
        }
    }
}
