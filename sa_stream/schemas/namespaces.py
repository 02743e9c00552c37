"""Where things are in the cache service. Names have dashes, not slashes: a namespace is one folder."""

NS_SA_RAW = "sa-cloudfront-raw"  # what a log file said, by its time of arrival
NS_SA_CONSOLIDATED = "sa-cloudfront-consolidated"  # Schema__SA__Consolidation__Result, of half hours
NS_SA_AGGREGATE = "sa-cloudfront-aggregate"  # Schema__SA__Aggregate__Window, by the key of its period
