// Tables as files. What a spreadsheet would take for a formula is made plain text.

const FORMULA = /^[=+\-@\t\r]/;

/** CSV (RFC 4180) of rows, by columns of {name, label}. */
export function csv(columns, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? '' : String(value);
    const plain = typeof value === 'string' && FORMULA.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  const lines = [columns.map((column) => cell(column.label)), ...rows.map((row) => columns.map((column) => cell(row[column.name])))];
  return `${lines.map((line) => line.join(',')).join('\r\n')}\r\n`;
}

/** Offers a text as a file to keep. */
export function offer(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement('a');
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** A name for a file from a title. */
export const fileName = (title, ending) => `${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-|-$/g, '')}.${ending}`;
