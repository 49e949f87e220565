//! Rows in groups: whoever is near one of a group belongs to it.

/// Rows of which some were joined.
#[derive(Debug)]
pub struct Groups {
    /// A row of the same group with a lower number, or the row itself.
    parents: Vec<u32>,
    /// How far the nearest one is.
    nearest: Vec<f64>,
}

/// A row of a group of at least two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// The first row of the group.
    pub first: u32,
    /// The row.
    pub row: u32,
    /// How far the nearest one of the group is.
    pub distance: f64,
}

impl Groups {
    /// Rows that are all alone.
    pub fn new(rows: usize) -> Self {
        Self {
            // As many as a table of vectors or hashes may have.
            parents: (0..rows as u32).collect(),
            nearest: vec![f64::INFINITY; rows],
        }
    }

    /// Joins the groups of two rows.
    pub fn join(&mut self, a: u32, b: u32, distance: f64) {
        for row in [a, b] {
            let nearest = &mut self.nearest[row as usize];
            *nearest = nearest.min(distance);
        }
        let (a, b) = (self.first(a), self.first(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }

    /// The first row of a row's group.
    fn first(&mut self, mut row: u32) -> u32 {
        while self.parents[row as usize] != row {
            // Shortens the way for the next one.
            let above = self.parents[self.parents[row as usize] as usize];
            self.parents[row as usize] = above;
            row = above;
        }
        row
    }

    /// The rows of groups, one group after the other, in the order of their first rows.
    pub fn members(mut self) -> Vec<Member> {
        let rows = 0..self.parents.len() as u32;
        let mut members: Vec<Member> = rows
            .filter(|row| self.nearest[*row as usize].is_finite())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|row| Member {
                first: self.first(row),
                row,
                distance: self.nearest[row as usize],
            })
            .collect();
        members.sort_by_key(|member| (member.first, member.row));
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_near_one_of_a_group_belongs_to_it() {
        let mut groups = Groups::new(7);
        groups.join(5, 6, 0.5);
        groups.join(4, 2, 3.0);
        groups.join(6, 4, 2.0);
        groups.join(1, 3, 1.0);
        let found: Vec<_> = groups.members();
        let found = found.iter().map(|m| (m.first, m.row, m.distance));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                (1, 1, 1.0),
                (1, 3, 1.0),
                (2, 2, 3.0),
                (2, 4, 2.0),
                (2, 5, 0.5),
                (2, 6, 0.5),
            ]
        );
    }
}
