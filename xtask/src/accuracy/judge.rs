//! Counting: labels beside the classes of float arithmetic, and beside the truth.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::networks::images::Labelled;

/// How often a network's labels are those of float arithmetic, and how often either is right.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) images: usize,
    pub(crate) agree: usize,
    /// Shares of 1; none without labels.
    pub(crate) accuracy: Option<f64>,
    pub(crate) float_accuracy: Option<f64>,
    /// The images whose labels differ.
    pub(crate) others: Vec<Other>,
}

/// One image with another label than float's.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Other {
    pub(crate) image: usize,
    pub(crate) expected: usize,
    pub(crate) got: usize,
}

impl Verdict {
    /// Agreement in percent; 0 without images.
    pub(super) fn percent(&self) -> f64 {
        100.0 * self.agree as f64 / self.images.max(1) as f64
    }
}

/// Compares `labels` with `expected` ones and, where there are any, with the truth.
pub(super) fn judge(labels: &[usize], expected: &[usize], truth: &[usize]) -> Verdict {
    let right = |found: &[usize]| {
        let count = found.iter().zip(truth).filter(|(found, truth)| found == truth).count();
        (!truth.is_empty()).then(|| count as f64 / truth.len() as f64)
    };
    let others: Vec<Other> = labels
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|(_, (got, expected))| got != expected)
        .map(|(image, (&got, &expected))| Other { image, expected, got })
        .collect();
    let compared = labels.len().min(expected.len());
    Verdict {
        images: expected.len(),
        agree: compared - others.len(),
        accuracy: right(labels),
        float_accuracy: right(expected),
        others,
    }
}

/// The classes that float arithmetic gave for the images, from a table `index,label,pred` or, for named images,
/// `image,rank,class,…`.
pub(super) fn expected(text: &str, test: &Labelled) -> Result<Vec<usize>> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header = lines.next().context("the table of expected classes is empty")?;
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').map(str::trim).collect()).collect();
    let number = |row: &[&str], at: usize| -> Result<usize> {
        let word = row.get(at).with_context(|| format!("a row of {} columns", row.len()))?;
        word.parse().with_context(|| format!("`{word}` in the table of expected classes"))
    };
    let expected = if header.starts_with("index,label,pred") {
        let mut expected = Vec::new();
        for (at, row) in rows.iter().take(test.pixels.len()).enumerate() {
            ensure!(number(row, 0)? == at, "row {at} of the table of expected classes has index {}", row[0]);
            ensure!(
                test.labels.get(at) == Some(&number(row, 1)?),
                "image {at} has another label than its row"
            );
            expected.push(number(row, 2)?);
        }
        expected
    } else if header.starts_with("image,rank,class") {
        let first = |name: &String| {
            let row = rows.iter().find(|row| row[0] == name && row.get(1) == Some(&"1"));
            number(row.with_context(|| format!("no expected class of {name}"))?, 2)
        };
        test.names.iter().map(first).collect::<Result<_>>()?
    } else {
        bail!("the table of expected classes starts with `{header}`");
    };
    ensure!(
        expected.len() == test.pixels.len(),
        "{} classes for {} images",
        expected.len(),
        test.pixels.len()
    );
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize, labels: &[usize], names: &[&str]) -> Labelled {
        Labelled {
            pixels: vec![vec![0]; count],
            labels: labels.to_vec(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn labels_are_counted_against_float_and_truth() {
        let verdict = judge(&[1, 2, 3, 4], &[1, 2, 3, 5], &[1, 0, 3, 4]);
        assert_eq!((verdict.agree, verdict.percent()), (3, 75.0));
        assert_eq!((verdict.accuracy, verdict.float_accuracy), (Some(0.75), Some(0.5)));
        assert_eq!(verdict.others, [Other { image: 3, expected: 5, got: 4 }]);
        assert_eq!(judge(&[7], &[7], &[]).accuracy, None);
        // Labels that are missing do not agree.
        assert_eq!(judge(&[1], &[1, 1], &[]).percent(), 50.0);
        assert_eq!(judge(&[], &[], &[]).percent(), 0.0);
    }

    #[test]
    fn tables_of_both_kinds() {
        let table = "index,label,pred\n0,3,3\n1,8,5\n2,1,1\n";
        assert_eq!(expected(table, &images(2, &[3, 8], &[])).unwrap(), [3, 5]);
        let ranked =
            "image,rank,class,logit,name\nb.png,1,7,1.0,\"x\"\na.png,1,9,2.0,\"y\"\na.png,2,4,1.0,\"z\"\n";
        assert_eq!(expected(ranked, &images(2, &[], &["a.png", "b.png"])).unwrap(), [9, 7]);
    }

    #[test]
    fn tables_that_do_not_belong_are_refused() {
        let table = "index,label,pred\n0,3,3\n1,8,5\n";
        assert!(expected(table, &images(2, &[3, 7], &[])).is_err());
        assert!(expected(table, &images(3, &[3, 8, 1], &[])).is_err());
        assert!(expected("0,3,3\n", &images(1, &[3], &[])).is_err());
        assert!(expected("image,rank,class\na.png,1,9\n", &images(1, &[], &["b.png"])).is_err());
    }
}
