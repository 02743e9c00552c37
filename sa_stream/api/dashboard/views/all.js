// The views, in the order of the navigation.

import { Entries } from './entries.js';
import { Errors } from './errors.js';
import { Live } from './live.js';
import { Overview } from './overview.js';
import { Paths } from './paths.js';
import { Pipeline } from './pipeline.js';
import { Privacy } from './privacy.js';
import { Visitors } from './visitors.js';

export const VIEWS = [Overview, Live, Errors, Paths, Visitors, Pipeline, Entries, Privacy];
