// Every element of the dashboard, registered: for the page of its own and for an admin shell alike.

import { takeKey } from './lib/session.js';
import { Chart } from './parts/chart.js';
import { Frame } from './parts/frame.js';
import { Spark } from './parts/spark.js';
import { Table } from './parts/table.js';
import { Timeline } from './parts/timeline.js';
import { VIEWS } from './views/all.js';

takeKey();
addEventListener('hashchange', takeKey); // an address that differs in its key alone loads nothing anew
const elements = { 'sa-chart': Chart, 'sa-spark': Spark, 'sa-table': Table, 'sa-timeline': Timeline };
for (const view of VIEWS) elements[`sa-${view.view}`] = view;
for (const [name, element] of Object.entries({ ...elements, 'sa-dashboard': Frame })) {
  if (!customElements.get(name)) customElements.define(name, element);
}
