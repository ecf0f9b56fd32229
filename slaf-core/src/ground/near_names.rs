//! Suggestions for a misspelt name: the known names that are close to it.

/// At most three of `known` that resemble `name`, nearest first. Case is
/// ignored.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let wanted = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&wanted, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(score, _)| *score > 0.8)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by_key(|(_, candidate)| *candidate);
    scored
        .into_iter()
        .take(3)
        .map(|(_, c)| c.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn case_and_one_letter_are_near_and_the_rest_is_not() {
        let columns = ["cell_type", "total_counts", "batch", "n_genes"];
        assert_eq!(nearest("Cell_Type", columns), ["cell_type"]);
        assert_eq!(nearest("total_count", columns), ["total_counts"]);
        assert!(nearest("zebra", columns).is_empty());
    }
}
