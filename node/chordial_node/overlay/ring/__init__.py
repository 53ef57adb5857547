"""Who is in the ring and where: Zave's steps, membership, failure detection, formation, merging."""
