// Prints the report of Khronos' glTF validator on a file as JSON: node validate.mjs FILE
import { readFile } from "node:fs/promises";
import validator from "gltf-validator";

const report = await validator.validateBytes(new Uint8Array(await readFile(process.argv[2])));
console.log(JSON.stringify(report));
