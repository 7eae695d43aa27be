"""Pure torch building blocks: no config, no data set, no RecBole."""
