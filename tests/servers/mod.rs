//! Servers of the distribution, unchanged, under the inits.

mod nginx;
