//! The schedules that broke weaker protocols, by their names, against the code that ships.
