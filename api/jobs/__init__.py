"""Work that takes longer than a request: ingests of uploads, reports and fixes."""
