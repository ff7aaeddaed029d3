//! Typed ARI client: events and requests of one Asterisk node.
