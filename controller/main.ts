import { runProgram } from "../program/run.ts";
import { control } from "./control.ts";

await runProgram("controller", control);
