//! Stands for the project whose tests these are.
