import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lineOf, pickedOf } from '../../../../gateway/web/src/picked.ts';

const wheel = { name: 'echo-1.0.0-py3-none-any.whl' };
const own = { name: `${wheel.name}.sig` };
const other = { name: 'other.whl.sig' };

test('a wheel is found with its own signature, whatever the order', () => {
  assert.deepEqual(pickedOf([other, own, wheel]), { wheel, signature: own });
  assert.deepEqual(pickedOf([wheel, own]), { wheel, signature: own });
});

test('a signature of another name is taken, for the gateway to judge; none is none', () => {
  assert.deepEqual(pickedOf([wheel, other]), { wheel, signature: other });
  assert.deepEqual(pickedOf([wheel]), { wheel, signature: null });
});

test('without a wheel there is nothing to send', () => {
  assert.equal(pickedOf([own]), null);
  assert.equal(pickedOf([]), null);
});

test('what no header can hold is not sent as one', () => {
  assert.equal(lineOf('mmn-bundle-v1 U x==\n'), 'mmn-bundle-v1 U x==');
  for (const text of ['', 'ü', 'a\nb', 'PK\u0003', 'x'.repeat(513)]) assert.equal(lineOf(text), '?');
});
