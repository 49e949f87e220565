//! The state of a trial between two epochs, to and from a checkpoint.

use super::TrainingLoop;
use crate::augment::Augmenter;
use crate::checkpoint::{Checkpoint, CheckpointHeader, EpochBits, fingerprint};
use crate::mixup::Mixup;
use crate::random::Stream;
use crate::{Error, engine};

impl TrainingLoop<'_> {
    /// Everything that decides how the trial goes on.
    pub(super) fn checkpoint(&mut self) -> Checkpoint {
        let mut weights = vec![0.0; self.network.saved_len()];
        self.network.save(&mut weights);
        let drawn = self.streams().map(|stream| stream.drawn()).collect();
        let (_, [first, second]) = self.optimizer.memory();
        let average = self.average.as_ref();
        let average = average.map_or(&[][..], |average| &average.values);
        let groups = [&weights, first, second, &self.best_weights, average];
        let header = CheckpointHeader {
            engine: engine(),
            hyperparameters: self.hyperparameters.clone(),
            data: fingerprint(self.dataset, self.split),
            metric: self.metric,
            steps: self.steps,
            best: self.best,
            last_finite: self.last_finite.to_bits(),
            drawn,
            epochs: self.history.iter().map(EpochBits::from).collect(),
            lengths: groups.iter().map(|group| group.len()).collect(),
        };
        let seconds: Vec<_> = self.history.iter().map(|epoch| epoch.seconds).collect();
        Checkpoint::new(header, &groups, &seconds)
    }

    /// Goes to the state that a checkpoint was made of.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        checkpoint.check(self.hyperparameters)?;
        checkpoint.check_place(self.dataset, self.split, self.metric)?;
        let header = &checkpoint.header;
        let mut weights = vec![0.0; self.network.saved_len()];
        let (steps, [first, second]) = self.optimizer.memory_mut();
        *steps = i32::try_from(header.steps).unwrap_or(i32::MAX);
        let average = self.average.as_mut();
        let average = average.map_or(&mut [][..], |average| &mut average.values);
        checkpoint.restore(&mut [
            &mut weights,
            first,
            second,
            &mut self.best_weights,
            average,
        ])?;
        self.network.restore(&weights);
        if let Some(average) = &mut self.average {
            average.steps = header.steps;
        }
        for (stream, drawn) in self.streams().zip(&header.drawn) {
            stream.skip(*drawn);
        }
        for _ in 0..checkpoint.epochs() {
            self.shuffle.shuffle(&mut self.order);
        }
        self.steps = header.steps;
        self.best = header.best.filter(|best| *best < header.epochs.len());
        self.last_finite = f64::from_bits(header.last_finite);
        self.history.extend(checkpoint.history());
        Ok(())
    }

    /// All random streams but that of the order, which is drawn again.
    fn streams(&mut self) -> impl Iterator<Item = &mut Stream> {
        let augmenter = self.augmenter.as_mut().map(Augmenter::stream);
        let mixup = self.mixup.as_mut().map(Mixup::stream);
        augmenter
            .into_iter()
            .chain(mixup)
            .chain(self.network.streams())
    }
}
